"""truing label."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from truing.cli.label_quality import current_quality, show_quality
from truing.cli.options import (
    AgainstWhat,
    AnswerSeed,
    AnswerTemperature,
    AnswerTokens,
    Ask,
    AskedBestOf,
    Convert,
    JudgedHow,
    LabelsFile,
    Quality,
    RunOrFile,
    WhoseAnswers,
)
from truing.cli.output import patient_console, say
from truing.core.errors import InputError
from truing.runs.files import write_jsonl
from truing.runs.progress import open_progress

if TYPE_CHECKING:
    from truing.labelling.collection import Asking
    from truing.labelling.serving import Address
    from truing.labelling.store import Store

Names = list[str] | None


def label(
    source: RunOrFile,
    mode: JudgedHow = None,
    stage: WhoseAnswers = None,
    against: AgainstWhat = "start",
    ask: Ask = None,
    best_of: AskedBestOf = None,
    tokens: AnswerTokens = None,
    temperature: AnswerTemperature = None,
    seed: AnswerSeed = None,
    person: Annotated[Names, typer.Option(metavar="NAME", help="Who labels: prints a link. One or several.")] = None,
    lead: Annotated[Names, typer.Option(metavar="NAME", help="The same, of who also settles disputes.")] = None,
    each: Annotated[int, typer.Option(min=1, help="People who judge each item.")] = 1,
    random_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the items: drawn at random, not because they teach most.")
    ] = 0.2,
    controls: Annotated[Path | None, typer.Option(help="Pairs whose better side is known, between the others.")] = None,
    swaps: Annotated[
        float, typer.Option(min=0, max=1, help="Of the items: shown to the same person again, sides changed.")
    ] = 0.0,
    guidelines: Annotated[Path | None, typer.Option(help="Markdown, shown beside the work.")] = None,
    labels: LabelsFile = None,
    host: Annotated[str, typer.Option(help="Where to listen; addresses open to others need --url.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8420,
    url: Annotated[str | None, typer.Option(help="What browsers open, where that is a proxy with TLS.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write rows to learn from, in TRL's columns, and end.")
    ] = None,
    export_votes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every vote with all that is known of it, and end.")
    ] = None,
    convert: Convert = None,
    quality: Quality = False,
    revoke: Annotated[str | None, typer.Option(metavar="NAME", help="End a person's links, and end.")] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="NAME", help="Delete a person and all they said, and end.")
    ] = None,
) -> None:
    """Have people judge answers on a page of this machine, and write what they said as rows to learn from."""
    from truing.labelling.collection import Asking, Wanted, begin, existing, items_to_ask, labels_of, read_guidelines
    from truing.labelling.places import put_items

    kept_in = labels or labels_of(source)
    if convert:
        _convert(source, convert)
        return
    if export or export_votes or quality or revoke or forget:
        _work_on(existing(kept_in), export, export_votes, quality, revoke, forget)
        return
    told = read_guidelines(guidelines) if guidelines else ""
    store = _waiting_guard(source) if not (labels or stage or ask) else None
    if store is None:
        shown = _answers(source, kept_in, Asking(ask or [], stage, best_of, tokens, temperature, seed))
        wanted = Wanted(shown, stage, against, random_share, controls, swaps)
        begun = begin(kept_in, mode) if kept_in.exists() else None
        items = items_to_ask(wanted, begun.mode if begun else mode or "pairs")
        address = listen_at(host, port, url, bool(person or lead or (begun and _has_named(begun))))
        store = begun or begin(kept_in, mode)
        put_items(store.database, items, each)
        say(f"{len(items)} items, {each} judgement{'s' if each > 1 else ''} of each; votes are kept in {kept_in}.")
    else:
        address = listen_at(host, port, url, bool(person or lead or _has_named(store)))
    give_links(store, address.url, person or [], lead or [])
    _serve(store, told, address)


def _waiting_guard(source: Path) -> "Store | None":
    """What the guard of a run waits for, which goes before the run's other answers."""
    from truing.labelling.waiting import waiting_guard

    store = waiting_guard(source)
    if store is not None:
        say(f"The guard of {source} waits for judgements, kept in {store.database.path}; its run then goes on.")
    return store


def _answers(prompts: Path, labels: Path, asking: "Asking") -> Path:
    """What is shown: the source itself, or the answers of those who are asked."""
    if asking.models:
        from truing.labelling.asking import answers_beside  # imports torch

        return answers_beside(labels, prompts, asking, open_progress(patient_console()))
    if any(one is not None for one in (asking.best_of, asking.tokens, asking.temperature, asking.seed)):
        what = "--best-of, --tokens, --temperature and --seed say how models are asked, and none is."
        hint = "Name one with --ask, or leave them out."
        raise InputError(what, code="input/nobody-asked", where="truing label", hint=hint)
    return prompts


def _convert(export: Path, file: Path) -> None:
    from truing.labelling.foreign import rows_of_export

    rows, without = rows_of_export(export)
    _write(file, rows, "rows to learn from")
    if without:
        say(f"{without} records gave none: nobody has judged them, or not in favour of one side.")


def listen_at(host: str, port: int, url: str | None, has_people: bool) -> "Address":
    """Where a page begins to listen. InputError as `listen`, or where what serves it is not installed."""
    from truing.labelling.collection import need_web_server

    need_web_server("truing label")
    from truing.labelling.serving import listen

    return listen(host, port, url, has_people)


def _serve(store: "Store", guidelines: str, address: "Address") -> None:
    from truing.labelling.serving import server_of

    try:
        say("Ctrl-C ends the page; the same command goes on.")
        sys.stdout.flush()  # where it goes to a file, links are there at once
        server_of(store, guidelines, address).run(sockets=[address.listening])
    except KeyboardInterrupt:
        say("Ended; every vote is kept. --export FILE writes them as rows.")


def give_links(store: "Store", url: str, people: list[str], leads: list[str]) -> None:
    """A line each. Where nobody was ever named, whoever started it labels and leads."""
    from truing.labelling.people import ALONE, new_link

    if not people and not leads:
        if _has_named(store):
            say("The links that were given before are still good; --person NAME prints a new one.")
            return
        leads = [ALONE]
    for name in [*people, *leads]:
        role: Literal["lead", "labeller"] = "lead" if name in leads else "labeller"
        say(f"{name}: {url}/?t={new_link(store.database, name, role)}")


def _has_named(store: "Store") -> bool:
    from truing.labelling.people import ALONE, names

    return bool(set(names(store.database)) - {ALONE})


def _work_on(
    store: "Store",
    export: Path | None,
    export_votes: Path | None,
    is_quality_asked: bool,
    revoked: str | None,
    forgotten: str | None,
) -> None:
    """What is done with labels that are there."""
    from truing.labelling.exports import exported, remember, write_quality
    from truing.labelling.out import every_vote, rows_to_learn_from
    from truing.labelling.people import forget, revoke

    if export:
        _write(export, rows_to_learn_from(store.database, store.mode), "rows to learn from")
        beside = write_quality(store, current_quality(store), export)
        say(f"How good the labellers were, for the report of a run that reads them: {beside}.")
    if export_votes:
        _write(export_votes, every_vote(store.database), "votes")
    for written in (export, export_votes):
        if written:
            remember(store.database, written)
    if is_quality_asked:
        show_quality(store, current_quality(store))
    if revoked:
        revoke(store.database, revoked)
        say(f"The links of {revoked} have ended.")
    if forgotten:
        say(f"{forgotten} is forgotten, with {forget(store.database, forgotten)} votes.")
        if files := exported(store.database):
            named = ", ".join(map(str, files))
            say(f"What they said may still be in {named}: export again or delete these, and the runs that read them.")


def _write(file: Path, rows: Iterable[dict[str, Any]], what: str) -> None:
    written = list(rows)
    write_jsonl(file, written)
    say(f"{len(written)} {what} written to {file}.")
