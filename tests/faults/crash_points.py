"""A process that dies at the n-th thing it does to the disk: before a fsync, rename, directory or removal, and half
way through a write.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from truing.runs import checkpoints, metrics

CALLS = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "truncate")


class CrashPoints:
    """Counts what this process does to the disk and kills it (SIGKILL) when the count is reached."""

    def __init__(self, die_at: int) -> None:
        self.count = 0
        self._die_at = die_at

    def install(self) -> None:
        """From here on. There is no way back: for a process of its own."""
        for name in CALLS:
            setattr(os, name, self._dying_before(getattr(os, name)))
        metrics.open = self._open  # type: ignore[attr-defined]
        checkpoints.save_file = self._save_file  # type: ignore[attr-defined]
        Path.write_bytes = self._write_bytes()  # type: ignore[method-assign]

    def due(self) -> bool:
        self.count += 1
        return self.count == self._die_at

    def _dying_before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.due():
                die()
            return call(*args, **kwargs)

        return counted

    def _open(self, *args: Any, **kwargs: Any) -> Any:
        return _HalfWriter(open(*args, **kwargs), self)

    def _write_bytes(self) -> Callable[[Path, bytes], int]:
        def written(path: Path, content: bytes) -> int:
            with _HalfWriter(open(path, "wb"), self) as file:
                return int(file.write(content))

        return written

    def _save_file(self, tensors: Any, path: Path) -> None:
        SAVE_FILE(tensors, path)
        if self.due():
            TRUNCATE(path, path.stat().st_size // 2)
            die()


SAVE_FILE, TRUNCATE = checkpoints.save_file, os.truncate


class _HalfWriter:
    """A file that may die with half of a write done."""

    def __init__(self, file: Any, points: CrashPoints) -> None:
        self._file = file
        self._points = points

    def write(self, content: Any) -> Any:
        if self._points.due():
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            die()
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_HalfWriter":
        self._file.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._file.__exit__(*fault)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(point: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a copy of this process that dies at a crash point; whether it came that far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            CrashPoints(point).install()
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
