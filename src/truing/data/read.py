"""Files to raw rows: JSON Lines, JSON, CSV, Parquet, data set directories and the Hub. Knows nothing of fields."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from truing.data.faults import Faults
from truing.errors import DataError
from truing.recipe import Source

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
LONGEST_CSV_FIELD = 2**31 - 1


@dataclass(frozen=True)
class RawRow:
    """A row as the file has it."""

    values: dict[str, object]
    where: str
    """`path:line`, or `path row 3` for formats without lines; both count from 1"""
    typed: bool = True
    """False where the file holds text only (CSV), so that a number arrives as its digits"""


def read_rows(source: Source, faults: Faults | None = None) -> Iterator[RawRow]:
    """The rows of a file, data set directory or Hub data set, in order.

    Broken rows (no JSON, no UTF-8, ragged) are added to `faults`, which the caller then checks; without it they are
    raised together after the last row. DataError at once where nothing can be read at all, or where there is no row.
    """
    found = Faults(source.path) if faults is None else faults
    empty = True
    for row in _reader(source, found):
        empty = False
        yield row
    if empty and not found.count:
        raise DataError("there are no rows in it.", where=source.path, mend="Check the path, or write the file again.")
    if faults is None:
        found.check()


def _reader(source: Source, faults: Faults) -> Iterator[RawRow]:
    """The reader for what `source.path` turns out to be."""
    path = Path(source.path).expanduser()
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if path.is_dir():
        return _read_dataset(source, path)
    if path.is_file():
        if reader is None:
            raise DataError(
                f"`{path.suffix}` is not a format for rows.",
                where=source.path,
                mend="Use .jsonl, .json, .csv or .parquet.",
            )
        return _opened(reader(path, source.path, faults), source.path)
    if reader is not None or not HUB_ID.fullmatch(source.path):
        raise DataError("no such file.", where=source.path, mend=f"Paths start at {Path.cwd()}; check the spelling.")
    return _read_dataset(source, None)


def _opened(rows: Iterator[RawRow], path: str) -> Iterator[RawRow]:
    """The same rows; what the operating system refuses becomes a DataError."""
    try:
        yield from rows
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot be read: {reason}.", where=path, mend="Check its permissions and the disk.") from error


def _lines(file: BinaryIO, path: str, faults: Faults) -> Iterator[tuple[int, str | None]]:
    """Numbered lines of a UTF-8 file, without a byte order mark; None for a line that is not UTF-8."""
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError("the file is UTF-16.", where=path, mend="Save it as UTF-8.")
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
        raise ValueError(f"{error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(value: object, where: str, faults: Faults) -> Iterator[RawRow]:
    if isinstance(value, dict):
        yield RawRow(value, where)
    else:
        faults.add(where, None, "the row is not a JSON object", 'Write {"field": "text", ...}.')


def _read_jsonl(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
    """One JSON object a line; blank lines are skipped."""
    with path.open("rb") as file:
        for number, line in _lines(file, name, faults):
            if line is None or not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                value = _parse(line)
            except ValueError as error:
                faults.add(where, None, f"no valid JSON: {error}", "Write one complete JSON object a line.")
            else:
                yield from _object(value, where, faults)


def _read_json(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
    """A .json file is either one array of objects or, as many data sets have it, JSON Lines."""
    with path.open("rb") as file:
        beginning = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not beginning.startswith(b"["):
        yield from _read_jsonl(path, name, faults)
        return
    try:
        rows = _parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start + 1} is not UTF-8.", where=name, mend="Save the file as UTF-8.") from error
    except ValueError as error:
        raise DataError(f"no valid JSON: {error}.", where=name, mend="Write one array of JSON objects.") from error
    assert isinstance(rows, list)
    for number, value in enumerate(rows, start=1):
        yield from _object(value, f"{name} row {number}", faults)


def _read_csv(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
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
                elif len(fields) == len(header):
                    yield RawRow(dict(zip(header, fields, strict=True)), where, typed=False)
                else:
                    reason = f"{len(fields)} fields where the header has {len(header)}"
                    faults.add(where, None, reason, 'Put text with commas or line breaks into "quotes".')
        except csv.Error as error:
            # What follows a broken quote cannot be told from what it encloses, so nothing after it is read.
            faults.add(f"{name}:{line}", None, f"no valid CSV: {error}", "Close every quote, and double those in text.")


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
            f"{listed} stands in the header more than once.", where=where, mend="Give each column its own name."
        )
    return names


def _read_parquet(path: Path, name: str, faults: Faults) -> Iterator[RawRow]:
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
            f"cannot be read as Parquet: {reason}.", where=f"{name} row {number + 1}", mend="Write the file again."
        ) from error


def _read_dataset(source: Source, directory: Path | None) -> Iterator[RawRow]:
    """A directory that `save_to_disk` wrote, a directory of data files, or a data set of the Hub."""
    rows = _loaded(source, directory)
    for number, values in enumerate(rows, start=1):
        yield RawRow(dict(values), f"{source.path} row {number}")


def _loaded(source: Source, directory: Path | None) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        if directory and (directory / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(directory))[source.split]
        if directory and (directory / "state.json").is_file():
            return datasets.load_from_disk(str(directory))
        return datasets.load_dataset(str(directory or source.path), name=source.subset, split=source.split)
    except Exception as error:  # the library raises what its file systems, builders and the network raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"the data set (subset {source.subset or 'default'}, split {source.split}) cannot be loaded: {reason}.",
            where=source.path,
            mend="Check the path or Hub id, its subset and split, and the network.",
        ) from error
