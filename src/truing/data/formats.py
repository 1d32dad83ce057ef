"""One reader a file format: lines of JSON, an array of JSON, CSV, Parquet. They know nothing of fields.

Every reader takes the file and the name it goes by in messages, and yields what is wrong with a row in its place.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from truing.core.errors import DataError, Problem

LONGEST_CSV_FIELD = 2**31 - 1
OTHER_FORMATS = {
    (b"\x1f\x8b", b"\x28\xb5\x2f\xfd"): ("compressed", "Unpack it."),
    (b"PK\x03\x04",): ("a zip archive, as spreadsheets are", "Unpack it, or save the sheet as CSV."),
    (b"PAR1\x15",): ("Parquet", "Call it .parquet."),
}
"""How files begin that hold no lines of text: what they are, and what to do"""


@dataclass(frozen=True)
class RawRow:
    """A row as the file has it."""

    values: dict[str, object]
    where: str
    """`path:line`, or `path row 3` for formats without lines; both count from 1"""
    typed: bool = True
    """False where the file holds text only (CSV), so that a number arrives as its digits"""


def read_jsonl(path: Path, name: str) -> Iterator[RawRow | Problem]:
    """One JSON object a line; blank lines are skipped."""
    with path.open("rb") as file:
        for number, line in _lines(file, name):
            where = f"{name}:{number}"
            if isinstance(line, Problem):
                yield line
            elif line.strip():
                try:
                    yield _object(_parse(line.rstrip("\r\n")), where)
                except ValueError as error:
                    hint = "Write one complete JSON object a line."
                    yield Problem("data/not-json", None, f"no valid JSON: {error}.", hint, where)


def read_json(path: Path, name: str) -> Iterator[RawRow | Problem]:
    """A .json file is either one array of objects or, as many data sets have it, JSON Lines."""
    with path.open("rb") as file:
        beginning = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not beginning.startswith(b"["):
        yield from read_jsonl(path, name)
        return
    try:
        rows = _parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(**vars(_not_utf_8(error, name))) from error
    except ValueError as error:
        hint = "Write one array of JSON objects."
        raise DataError(f"no valid JSON: {error}.", code="data/not-json", where=name, hint=hint) from error
    assert isinstance(rows, list)
    for number, value in enumerate(rows, start=1):
        yield _object(value, f"{name} row {number}")


def read_csv(path: Path, name: str) -> Iterator[RawRow | Problem]:
    """Comma-separated values with a header; `where` names the line on which the row begins."""
    csv.field_size_limit(LONGEST_CSV_FIELD)  # the module's default refuses a field of 131,072 characters
    with path.open("rb") as file:
        reader = csv.reader(_csv_lines(file, name), strict=True)
        header: list[str] | None = None
        line = 1
        try:
            for fields in reader:
                where, line = f"{name}:{line}", reader.line_num + 1
                if not fields:
                    continue
                if header is None:
                    header = _checked_header(fields, where)
                elif fields == header:
                    hint = "Remove the line; it comes of files that were joined."
                    yield Problem("data/header-again", None, "the header stands here again.", hint, where)
                elif len(fields) == len(header):
                    yield RawRow(dict(zip(header, fields, strict=True)), where, typed=False)
                else:
                    count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                    what = f"{count} where the header has {len(header)}."
                    hint = 'Put text with commas or line breaks into "quotes".'
                    yield Problem("data/ragged-row", None, what, hint, where)
        except csv.Error as error:
            # What follows a broken quote cannot be told from what it encloses, so nothing after it is read.
            hint = "Close every quote, and double those in text."
            yield Problem("data/not-csv", None, f"no valid CSV: {error}.", hint, f"{name}:{line}")


def read_parquet(path: Path, name: str) -> Iterator[RawRow | Problem]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _checked_header(file.schema_arrow.names, name)
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield table_row(values, f"{name} row {number}")
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        what = f"cannot be read as Parquet: {reason}."
        hint = "Write the file again."
        raise DataError(what, code="data/not-parquet", where=f"{name} row {number + 1}", hint=hint) from error


def table_row(values: Mapping[str, object], where: str) -> RawRow:
    """A row of a format in which every record within a column has the keys of all of them.

    Those that one was never given are null there, the arguments of other tool calls for example, and are left out.
    """
    return RawRow({name: _without_nulls(value) for name, value in values.items()}, where)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _lines(file: BinaryIO, path: str) -> Iterator[tuple[int, str | Problem]]:
    """Numbered lines of a UTF-8 file, without a byte order mark; a problem for a line that is not UTF-8."""
    for number, line in enumerate(file, start=1):
        if number == 1:
            _refuse_other_format(line, path)
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield number, _not_utf_8(error, f"{path}:{number}")


def _refuse_other_format(beginning: bytes, where: str) -> None:
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the file is UTF-16.", code="data/utf-16", where=where, hint="Save it as UTF-8.")
    for begins, (kind, hint) in OTHER_FORMATS.items():
        if beginning.startswith(begins):
            raise DataError(f"the file is {kind}.", code="data/other-format", where=where, hint=hint)


def _not_utf_8(error: UnicodeDecodeError, where: str) -> Problem:
    return Problem("data/not-utf-8", None, f"byte {error.start + 1} is not UTF-8.", "Save the file as UTF-8.", where)


def _parse(text: str) -> object:
    """JSON to objects. ValueError says what is wrong with it, in words."""
    try:
        return json.loads(text, object_pairs_hook=_object_of)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"{error.msg.removesuffix(' at')} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """ValueError where a key stands twice: the library would take the last and say nothing."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {doubled!r} stands in one object more than once")
    return made


def _object(value: object, where: str) -> RawRow | Problem:
    if isinstance(value, dict):
        return RawRow(value, where)
    return Problem("data/not-an-object", None, "the row is not a JSON object.", 'Write {"field": "text", ...}.', where)


def _csv_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Decoded lines. DataError for one that is not UTF-8: what follows may be a part of its row."""
    is_header = True
    for number, line in _lines(file, name):
        if isinstance(line, Problem):
            raise DataError(**vars(line))
        if is_header and line.strip("\r\n"):
            _refuse_other_separator(line, f"{name}:{number}")
            is_header = False
        yield line


def _refuse_other_separator(header: str, where: str) -> None:
    """Of the line as it stands: inside quotes a sign separates nothing."""
    other = next((sign for sign in (";", "\t") if _fields(header, ",") == 1 < _fields(header, sign)), None)
    if other:
        what = f"its fields are separated by {other!r}, where CSV has commas."
        raise DataError(what, code="data/other-separator", where=where, hint="Write it again, with commas.")


def _fields(line: str, separator: str) -> int:
    return len(next(csv.reader([line], delimiter=separator)))


def _checked_header(names: list[str], where: str) -> list[str]:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        listed = ", ".join(f"`{name}`" for name in doubled)
        what = f"{listed} stands in the header more than once."
        raise DataError(what, code="data/doubled-column", where=where, hint="Give each column its own name.")
    return names
