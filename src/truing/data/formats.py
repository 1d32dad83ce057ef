"""One reader a file format: lines of JSON, an array of JSON, CSV, Parquet. They know nothing of fields.

Every reader takes the file, the name it goes by in messages, and the faults to which it adds broken rows.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from truing.core.errors import DataError
from truing.data.faults import Faults

LONGEST_CSV_FIELD = 2**31 - 1


@dataclass(frozen=True)
class RawRow:
    """A row as the file has it."""

    values: dict[str, object]
    where: str
    """`path:line`, or `path row 3` for formats without lines; both count from 1"""
    typed: bool = True
    """False where the file holds text only (CSV), so that a number arrives as its digits"""


def read_jsonl(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
    """One JSON object a line; blank lines are skipped."""
    with path.open("rb") as file:
        for number, line in _lines(file, name, faults):
            if line is None or not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                value = _parse(line.rstrip("\r\n"))
            except ValueError as error:
                faults.add(where, None, f"no valid JSON: {error}", "Write one complete JSON object a line.")
            else:
                yield from _object(value, where, faults)


def read_json(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
    """A .json file is either one array of objects or, as many data sets have it, JSON Lines."""
    with path.open("rb") as file:
        beginning = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not beginning.startswith(b"["):
        yield from read_jsonl(path, name, faults)
        return
    try:
        rows = _parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start + 1} is not UTF-8.", code="data/not-utf-8", where=name, hint="Save the file as UTF-8."
        ) from error
    except ValueError as error:
        raise DataError(
            f"no valid JSON: {error}.", code="data/not-json", where=name, hint="Write one array of JSON objects."
        ) from error
    assert isinstance(rows, list)
    for number, value in enumerate(rows, start=1):
        yield from _object(value, f"{name} row {number}", faults)


def read_csv(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
    """Comma-separated values with a header; `where` names the line on which the row begins."""
    csv.field_size_limit(LONGEST_CSV_FIELD)  # the module's default refuses a field of 131,072 characters
    with path.open("rb") as file:
        reader = csv.reader(_csv_lines(file, name, faults), strict=True)
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
                    faults.add(where, None, "the header stands here again", hint)
                elif len(fields) == len(header):
                    yield RawRow(dict(zip(header, fields, strict=True)), where, typed=False)
                else:
                    count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                    reason = f"{count} where the header has {len(header)}"
                    faults.add(where, None, reason, 'Put text with commas or line breaks into "quotes".')
        except csv.Error as error:
            # What follows a broken quote cannot be told from what it encloses, so nothing after it is read.
            faults.add(f"{name}:{line}", None, f"no valid CSV: {error}", "Close every quote, and double those in text.")


def read_parquet(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _checked_header(file.schema_arrow.names, name)
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(values, f"{name} row {number}")
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"cannot be read as Parquet: {reason}.",
            code="data/not-parquet",
            where=f"{name} row {number + 1}",
            hint="Write the file again.",
        ) from error


def _lines(file: BinaryIO, path: str, faults: Faults) -> Iterator[tuple[int, str | None]]:
    """Numbered lines of a UTF-8 file, without a byte order mark; None for a line that is not UTF-8."""
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError("the file is UTF-16.", code="data/utf-16", where=path, hint="Save it as UTF-8.")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            faults.add(f"{path}:{number}", None, f"byte {error.start + 1} is not UTF-8", "Save the file as UTF-8.")
            yield number, None


def _parse(text: str) -> object:
    """JSON to objects. ValueError says what is wrong with it, in words."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"{error.msg.removesuffix(' at')} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(value: object, where: str, faults: Faults) -> Iterator[RawRow]:
    if isinstance(value, dict):
        yield RawRow(value, where)
    else:
        faults.add(where, None, "the row is not a JSON object", 'Write {"field": "text", ...}.')


def _csv_lines(file: BinaryIO, name: str, faults: Faults) -> Iterator[str]:
    """Decoded lines up to the first that is not UTF-8."""
    for _, line in _lines(file, name, faults):
        if line is None:
            return
        yield line


def _checked_header(names: list[str], where: str) -> list[str]:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        listed = ", ".join(f"`{name}`" for name in doubled)
        raise DataError(
            f"{listed} stands in the header more than once.",
            code="data/doubled-column",
            where=where,
            hint="Give each column its own name.",
        )
    return names
