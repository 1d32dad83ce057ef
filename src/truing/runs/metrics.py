"""One JSON object a line: the metrics and samples of a stage, each line on disk's way as soon as it is known."""

import json
import os
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, FiniteFloat, TypeAdapter, ValidationError

from truing.core.errors import RunError
from truing.processes import group
from truing.runs.files import check_plain, disk_faults


class JsonLines:
    """A file of JSON lines. Floats are written so that they read back as the very same number.

    Raises:
        RunError: the file cannot be opened or written, or has lost some of its first `keep` bytes.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        """Args:
        path: the file; begun anew, or cut back to its first `keep` bytes to go on from there.
        keep: a `cursor` of an earlier moment.
        """
        self.path = path
        self._handle: Any = _Counter()
        with disk_faults(path, "cannot be written"):
            if keep and group.is_owner():
                _refuse_loss(path, keep)
            if group.is_owner():
                self._handle = open(path, "r+b" if keep else "wb", buffering=0)  # noqa: SIM115
        if keep:
            self.cut(keep)

    @property
    def cursor(self) -> int:
        """Bytes written so far."""
        return int(self._handle.tell())

    def cut(self, keep: int) -> None:
        """Forgets everything behind the first `keep` bytes. RunError if the disk refuses."""
        with disk_faults(self.path, "cannot be written"):
            self._handle.truncate(keep)
            self._handle.seek(keep)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row of plain Python values as one line.

        Raises:
            TrainingError: a number is not finite; names the step (`row["step"]`) and the key. Nothing is written.
            TypeError: a value that is no plain Python value, such as a tensor or a numpy scalar.
            RunError: the disk refuses.
        """
        check_plain(row, where=f"{self.path.parent.name} step {row.get('step', 'unknown')}")
        with disk_faults(self.path, "cannot be written"):
            # A lone surrogate has no UTF-8; "backslashreplace" happens to write what JSON calls it.
            line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", errors="backslashreplace")
            while line:  # a disk that fills up takes the beginning of a line, and refuses the rest
                line = line[self._handle.write(line) :]

    def sync(self) -> None:
        """Force every line to disk: what a checkpoint may rely on. RunError if it refuses."""
        with disk_faults(self.path, "cannot be written"):
            if group.is_owner():
                os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Close the file; more rows are an error."""
        self._handle.close()

    def __enter__(self) -> Self:
        """Close when the block ends."""
        return self

    def __exit__(self, *fault: object) -> None:
        """Close, whatever happened."""
        self.close()


class _Counter:
    """In the place of a file that another process writes: how long it would be."""

    def __init__(self) -> None:
        self._length = 0

    def tell(self) -> int:
        return self._length

    def write(self, line: bytes) -> int:
        self._length += len(line)
        return len(line)

    def truncate(self, length: int) -> None:
        self._length = length

    def seek(self, place: int) -> None:
        """It is always at its end."""

    def close(self) -> None:
        """Nothing is open."""


def _refuse_loss(path: Path, keep: int) -> None:
    size = path.stat().st_size if path.exists() else None
    if size is None or size < keep:
        found = "is missing" if size is None else f"has lost lines: {size} bytes are left"
        what = f"{found}, and the last checkpoint counts on {keep}."
        hint = "Put the old file back, or add --fork-to NEW to begin a run with the stages that are finished."
        raise RunError(what, code="run/lost-lines", where=str(path), hint=hint)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a file, without a last line that a kill cut short.

    Raises:
        RunError: the file is missing, or another line is no JSON object; names the line.
    """
    with disk_faults(path, "cannot be read"):
        *lines, unended = path.read_bytes().split(b"\n")
    if unended.endswith(b"}") and _is_json(unended):
        lines.append(unended)
    return [_read_row(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


class _Turn(BaseModel):
    """One of a prompt's."""

    role: str
    content: str


class _Sample(BaseModel):
    """What a reader asks of a line of samples.jsonl."""

    step: FiniteFloat
    prompt: str
    response: str
    length: FiniteFloat
    finished: bool
    judges: dict[str, FiniteFloat | None]
    score: FiniteFloat | None = None
    kl: FiniteFloat = 0.0
    """Not there where the stage kept no model to measure it from"""
    tokens: list[str] = []
    token_log_ratios: list[FiniteFloat] = []
    turns: list[dict[str, str]] = []
    """Of an episode, each with its `role` and `content`"""
    prompt_turns: list[_Turn] = []
    """Of a conversation, whose `prompt` is all of it as one text"""


_METRICS = TypeAdapter(dict[str, FiniteFloat | str | None])
_SAMPLE = TypeAdapter(_Sample)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl. RunError as `read_jsonl`, and where a value is no metric."""
    return _checked(path, _METRICS)


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The lines of samples.jsonl. RunError as `read_jsonl`, and where one is no sample."""
    return _checked(path, _SAMPLE)


def _checked(path: Path, kind: TypeAdapter[Any]) -> list[dict[str, Any]]:
    rows = read_jsonl(path)
    for number, row in enumerate(rows, start=1):
        try:
            kind.validate_python(row, strict=True)
        except ValidationError as fault:
            where, key = f"{path}:{number}", ".".join(map(str, fault.errors()[0]["loc"]))
            hint = "Was it edited by hand?"
            raise RunError(f"{key} is not what a run writes.", code="run/odd-line", where=where, hint=hint) from fault
    return rows


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read_row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as fault:
        hint = "Was it edited by hand?"
        raise RunError(f"is no JSON: {fault}.", code="run/not-json", where=where, hint=hint) from fault
    if not isinstance(row, dict):
        raise RunError("is no JSON object.", code="run/not-an-object", where=where, hint="Was it edited by hand?")
    return row
