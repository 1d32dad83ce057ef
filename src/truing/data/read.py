"""Rows from where a recipe says they are: a file, a data set directory or the Hub. Knows nothing of fields."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from truing.config.sections import Source
from truing.core.errors import DataError, Problem, first_line
from truing.data.formats import RawRow, read_csv, read_json, read_jsonl, read_parquet, table_row

__all__ = ["RawRow", "read_rows"]

READERS = {".jsonl": read_jsonl, ".json": read_json, ".csv": read_csv, ".parquet": read_parquet}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def read_rows(source: Source) -> Iterator[RawRow | Problem]:
    """The rows of a file, data set directory or Hub data set in order, and why others (no JSON, ragged) are none.

    DataError where nothing can be read at all, or where there is no row.
    """
    empty = True
    try:
        for row in _rows(source):
            empty = False
            yield row
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "Check the file and its disk."
        raise DataError(f"cannot be read: {reason}.", code="data/unreadable", where=source.path, hint=hint) from error
    if empty:
        hint = "Check the path, or write the file again."
        raise DataError("there are no rows in it.", code="data/no-rows", where=source.path, hint=hint)


def _rows(source: Source) -> Iterator[RawRow | Problem]:
    """The rows of what `source.path` turns out to be."""
    path = Path(source.path).expanduser()
    reader = READERS.get(path.suffix.lower())
    if path.is_dir():
        return _dataset_rows(source, path)
    if path.is_file():
        if reader is None:
            what = f"{path.suffix or 'a file without a suffix'} is not a format for rows."
            raise DataError(what, code="data/unknown-format", where=source.path, hint=f"Use {', '.join(READERS)}.")
        return reader(path, source.path)
    if path.exists():
        what = "is a pipe or a device, and rows are read more than once."
        raise DataError(what, code="data/no-file", where=source.path, hint="Write them into a file, and name that.")
    if reader is not None or not HUB_ID.fullmatch(source.path):
        hint = f"Paths start at {Path.cwd()}; check the spelling."
        raise DataError("no such file.", code="data/no-such-file", where=source.path, hint=hint)
    return _dataset_rows(source, None)


def _dataset_rows(source: Source, directory: Path | None) -> Iterator[RawRow]:
    """A directory that `save_to_disk` wrote, a directory of data files, or a data set of the Hub."""
    rows = _loaded(source, directory)
    for number, values in enumerate(rows, start=1):
        yield table_row(dict(values), f"{source.path} row {number}")


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
        reason = first_line(error)
        what = f"the data set (subset {source.subset or 'default'}, split {source.split}) cannot be loaded: {reason}."
        hint = "Check the path or Hub id, its subset and split, and the network."
        raise DataError(what, code="data/not-loaded", where=source.path, hint=hint) from error
