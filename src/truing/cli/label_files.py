"""truing label, where it serves no page: what people said is written as files, shown or deleted."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from truing.cli.label_quality import current_quality, show_quality
from truing.cli.output import say
from truing.runs.files import refuse_unwritable, write_jsonl


def work_on(
    labels: Path,
    export: Path | None,
    export_votes: Path | None,
    is_quality_asked: bool,
    revoked: str | None,
    forgotten: str | None,
) -> None:
    """Does with a file of labels what is asked for, in this order; None or False is what is not.

    InputError where there is no such file, or nobody of that name.
    """
    from truing.labelling.collection import existing
    from truing.labelling.export_files import exported, remember, write_quality
    from truing.labelling.export_rows import every_vote, rows_to_learn_from
    from truing.labelling.people import forget, revoke

    store = existing(labels)
    quality = current_quality(store) if export or is_quality_asked else None  # before a row is written without it
    for written in (export, export_votes):
        if written:
            remember(store.database, written)
    if export and quality:
        _write(export, rows_to_learn_from(store.database, store.mode), "rows to learn from")
        beside = write_quality(store, quality, export)
        say(f"How good the labellers were, for the report of a run that reads them: {beside}.")
    if export_votes:
        _write(export_votes, every_vote(store.database), "votes")
    if is_quality_asked and quality:
        show_quality(store, quality)
    if revoked:
        revoke(store.database, revoked)
        say(f"The links of {revoked} have ended.")
    if forgotten:
        say(f"{forgotten} is forgotten, with {forget(store.database, forgotten)} votes.")
        if files := exported(store.database):
            named = ", ".join(map(str, files))
            say(f"What they said may still be in {named}: export again or delete these, and the runs that read them.")


def convert_export(export: Path, file: Path) -> None:
    """Writes rows to learn from, of an export of another program. DataError where it is none."""
    from truing.labelling.imports.rows import rows_of_export

    rows, without = rows_of_export(export)
    _write(file, rows, "rows to learn from")
    if without:
        say(f"{without} records gave none: nobody has judged them, or not in favour of one side.")


def _write(file: Path, rows: Iterable[dict[str, Any]], what: str) -> None:
    refuse_unwritable(file)
    written = list(rows)
    write_jsonl(file, written)
    say(f"{len(written)} {what} written to {file}.")
