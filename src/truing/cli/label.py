"""truing label."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from truing.cli.label_options import (
    AgainstWhat,
    Ask,
    AskedBestOf,
    Controls,
    Convert,
    Each,
    Export,
    ExportVotes,
    Forget,
    Host,
    JudgedHow,
    LabelsFile,
    Quality,
    RandomShare,
    Revoke,
    RunOrFile,
    Swaps,
    WhoseAnswers,
)
from truing.cli.options import AnswerSeed, AnswerTemperature, AnswerTokens, Guidelines, Labellers, Leads, Port, Url
from truing.cli.output import patient_console, say
from truing.core.errors import InputError

if TYPE_CHECKING:
    from truing.labelling.collection import AskedModels
    from truing.labelling.items import Item
    from truing.labelling.serving import Address
    from truing.labelling.store import Store


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
    person: Labellers = None,
    lead: Leads = None,
    each: Each = None,
    random_share: RandomShare = 0.2,
    controls: Controls = None,
    swaps: Swaps = 0.0,
    guidelines: Guidelines = None,
    labels: LabelsFile = None,
    host: Host = "127.0.0.1",
    port: Port = 8420,
    url: Url = None,
    export: Export = None,
    export_votes: ExportVotes = None,
    convert: Convert = None,
    quality: Quality = False,
    revoke: Revoke = None,
    forget: Forget = None,
) -> None:
    """Have people judge answers on a page of this machine, and write what they said as rows to learn from."""
    from truing.cli.label_files import convert_export, work_on
    from truing.labelling.collection import AskedModels, Wanted, begin, items_to_ask, labels_of, read_guidelines

    kept_in = labels or labels_of(source)
    _refuse_to_write_over([source, kept_in], [export, export_votes, convert])
    if convert:
        convert_export(source, convert)
        return
    if export or export_votes or quality or revoke or forget:
        work_on(kept_in, export, export_votes, quality, revoke, forget)
        return
    beside = read_guidelines(guidelines)
    store = _waiting_guard(source) if not (labels or stage or ask) else None
    if store is None:
        shown = _answers(source, kept_in, AskedModels(ask or [], stage, best_of, tokens, temperature, seed))
        wanted = Wanted(shown, stage, against, random_share, controls, swaps)
        begun = begin(kept_in, mode) if kept_in.exists() else None
        items = items_to_ask(wanted, begun.mode if begun else mode or "pairs")
        address = listen_at(host, port, url, bool(person or lead or (begun and _has_named(begun))))
        store = begun or begin(kept_in, mode)
        _put(store, items, each)
    else:
        address = listen_at(host, port, url, bool(person or lead or _has_named(store)))
    give_links(store, address.url, person or [], lead or [])
    _serve(store, beside, address)


def _put(store: "Store", items: "list[Item]", each: int | None) -> None:
    """Gives these out, and says what else became of those that were there."""
    from truing.labelling.places import SETTING, put_items

    each = each or int(store.database.setting(SETTING, "1"))
    gone = put_items(store.database, items, each)
    of_each = f"{each} judgement{'s' if each > 1 else ''} of each"
    say(f"{len(items)} items, {of_each}; votes are kept in {store.database.path}.")
    if gone:
        say(f"{gone} that were shown before are not among them: nobody is given these, and their votes stay.")


def _refuse_to_write_over(read: list[Path], written: list[Path | None]) -> None:
    """InputError where a file would be written in the place of what it is made of, or of another."""
    files = [place.resolve() for place in (*read, *written) if place is not None]
    twice = next((file for number, file in enumerate(files) if file in files[:number]), None)
    if twice is not None:
        what = "would be written in the place of what was judged, or of the votes, or twice."
        raise InputError(what, code="input/written-over", where=str(twice), hint="Name another file.")


def _waiting_guard(source: Path) -> "Store | None":
    """What the guard of a run waits for, which goes before the run's other answers."""
    from truing.labelling.waiting import waiting_guard

    store = waiting_guard(source)
    if store is not None:
        say(f"The guard of {source} waits for judgements, kept in {store.database.path}; its run then goes on.")
    return store


def _answers(prompts: Path, labels: Path, asked: "AskedModels") -> Path:
    """What is shown: the source itself, or the answers of those who are asked."""
    if asked.models:
        from truing.labelling.model_answers import answers_beside  # imports torch
        from truing.runs.progress import open_progress

        return answers_beside(labels, prompts, asked, open_progress(patient_console()))
    if any(one is not None for one in (asked.best_of, asked.tokens, asked.temperature, asked.seed)):
        what = "--best-of, --tokens, --temperature and --seed say how models are asked, and none is."
        hint = "Name one with --ask, or leave them out."
        raise InputError(what, code="input/nobody-asked", where="truing label", hint=hint)
    return prompts


def listen_at(host: str, port: int, url: str | None, has_people: bool, command: str = "truing label") -> "Address":
    """Where a page of a command begins to listen. InputError as `listen`, or where what serves it is not installed."""
    from truing.labelling.collection import need_web_server

    need_web_server(command)
    from truing.labelling.serving import listen

    return listen(host, port, url, has_people)


def _serve(store: "Store", guidelines: str, address: "Address") -> None:
    from truing.labelling.serving import server_of

    server = server_of(store, guidelines, address)
    # Python's own handler would interrupt a server that is about to begin anywhere, also while it has a lock.
    before = signal.signal(signal.SIGINT, lambda *_: setattr(server, "should_exit", True))
    try:
        say("Ctrl-C ends the page; the same command goes on.")
        sys.stdout.flush()  # where it goes to a file, links are there at once
        server.run(sockets=[address.listening])
    finally:
        signal.signal(signal.SIGINT, before)
    say("Ended; every vote is kept. --export FILE writes them as rows.")


def give_links(store: "Store", url: str, people: list[str], leads: list[str]) -> None:
    """A line each. Where nobody was ever named, whoever started it labels and leads."""
    from truing.labelling.people import ALONE, new_link

    if not people and not leads:
        if _has_named(store):
            say(f"The links that were given before are still good at {url}; --person NAME prints a new one.")
            return
        leads = [ALONE]
    for name in [*people, *leads]:
        role: Literal["lead", "labeller"] = "lead" if name in leads else "labeller"
        say(f"{name}: {url}/?t={new_link(store.database, name, role)}")


def _has_named(store: "Store") -> bool:
    from truing.labelling.people import ALONE, names

    return bool(set(names(store.database)) - {ALONE})
