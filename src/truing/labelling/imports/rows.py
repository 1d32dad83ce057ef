"""Exports of Label Studio and of Argilla, as rows that a recipe reads, with the columns of `export_rows`."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from truing.config.sections import Source
from truing.core.errors import DataError, Problem, Problems
from truing.data.fields import FieldError
from truing.data.read import RawRow, read_rows
from truing.labelling.export_rows import row_of
from truing.labelling.imports.argilla import is_record, read_record
from truing.labelling.imports.judged import RATINGS, Judged
from truing.labelling.imports.label_studio import is_task, read_task
from truing.labelling.items import MIDDLE, Mode, plain


def rows_of_export(file: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows to learn from, and how many records of the export gave none: nobody judged them, or people stood even.

    Raises:
        DataError: it is no such export, no record gave a row, or some cannot be used; all that is wrong at once.
    """
    problems, rows, without = Problems(str(file)), list[dict[str, Any]](), 0
    for raw in read_rows(Source(path=str(file))):
        if isinstance(raw, Problem):
            problems.add(raw)
            continue
        try:
            made = list(_rows(_judged(raw)))
        except FieldError as fault:
            alike = f"{fault.code} {list(raw.values)}" if fault.code == "data/no-export" else None
            problems.add(Problem(**vars(fault.problem) | {"where": raw.where}), alike)
            continue
        rows += made
        without += not made
    problems.check(DataError)
    if not rows:
        what = f"none of its {without} records says which answer is better, or whether one is good."
        hint = "Export once people have judged, with their annotations or responses."
        raise DataError(what, code="data/no-judgements", where=str(file), hint=hint)
    return rows, without


def _judged(raw: RawRow) -> Judged | None:
    if is_task(raw.values):
        return read_task(raw.values)
    if is_record(raw.values):
        return read_record(raw.values)
    there = ", ".join(f"`{name}`" for name in list(raw.values)[:6])
    hint = f"This row has {there}. Of Label Studio export JSON, not JSON_MIN or CSV; of Argilla, records.to_json."
    reason = "and `responses` are missing: this is no record of Label Studio or Argilla"
    raise FieldError("annotations", reason, hint, code="data/no-export")


def _rows(found: Judged | None) -> Iterator[dict[str, Any]]:
    """Of several answers that were compared, ranked or rated, a row for each two of them; of others, one for each."""
    if found is None:
        return
    for names, values, mode, middle in _votes(found):
        content = {"prompt": plain(found.prompt), "answers": [plain(found.answers[name]) for name in names]}
        row = row_of(content, values, mode, middle) if values else None
        if row is not None:
            yield row


def _votes(found: Judged) -> Iterator[tuple[tuple[str, ...], list[float], Mode, float]]:
    """Which answers, what each person said of them, and where the middle of that lies."""
    given, names = found.given, list(found.answers)
    if found.kind == "yes-no":
        yield from (((name,), [one[name] for one in given if name in one], "yes-no", 0.5) for name in names)
    elif len(names) == 1 and found.kind == "rating":
        yield (names[0],), [one[names[0]] for one in given], "rate", fmean(RATINGS)
    else:
        for first, second in combinations(names, 2):
            gaps = [one[second] - one[first] for one in given if {first, second} <= one.keys()]
            yield (first, second), [MIDDLE + gap for gap in gaps], "pairs", MIDDLE
