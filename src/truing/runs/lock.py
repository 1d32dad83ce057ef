"""One process at a time in a run directory.

The lock belongs to an open file and the kernel drops it when its process dies, however it dies, so there is no stale
lock to clear away. The file itself stays; it holds the number of the process that last took it.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from truing.core.errors import RunError
from truing.runs.files import disk_faults

_held: set[int] = set()
PATIENCE_SECONDS = 2.0
"""How long a lock that is held is asked for again. A killed run's child that has not come to its own program yet still
shares the open file, for milliseconds; a run that lives keeps its lock for longer."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path`, which is made if need be. RunError if a live process keeps it."""
    hint = "Put --out on a disk that can be written to and has file locks."
    with disk_faults(path.parent, "cannot be locked", hint):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    _held.add(descriptor)
    try:
        with disk_faults(path.parent, "cannot be locked", hint):
            _take(descriptor, path)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        if descriptor in _held:  # a forked child that unwinds has closed it already
            _held.discard(descriptor)
            os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _lock_now(descriptor)
        except (BlockingIOError, PermissionError) as fault:
            if time.monotonic() > until:
                holder = path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
                raise RunError(
                    f"is in use by process {holder}.",
                    where=str(path.parent),
                    hint="Wait until it ends or stop it, or give another --out.",
                ) from fault
        time.sleep(0.02)


if sys.platform == "win32":
    import msvcrt

    def _lock_now(descriptor: int) -> None:
        # Windows locks bytes against reading too: lock one far behind the process number.
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock_now(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go_in_child() -> None:
        """A forked child shares the open file and would keep the lock alive after its parent's death."""
        for descriptor in _held:
            os.close(descriptor)
        _held.clear()

    os.register_at_fork(after_in_child=_let_go_in_child)
