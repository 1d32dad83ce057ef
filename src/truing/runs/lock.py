"""One process at a time in a run directory.

The lock belongs to an open file, which filelock closes in forked children. The kernel drops it when its process dies,
however it dies, so there is no stale lock to clear away. The file stays; it holds the number of the process that last
took it, and the name of its machine, which may be another where several share a disk.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from truing.core.errors import RunError
from truing.runs.files import disk_faults

PATIENCE_SECONDS = 2.0
"""How long a lock that is held is asked for again. A killed run's child that has not come to its own program yet still
shares the open file, for milliseconds; a run that lives keeps its lock for longer."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on `path`, which is made if need be. RunError if a live process keeps it."""
    lock = FileLock(path, timeout=PATIENCE_SECONDS, preserve_lock_file=True, on_acquired=_write_holder)
    with disk_faults(path.parent, "cannot be locked", "Put --out on a disk that can be written to and has file locks."):
        try:
            held = lock.acquire()
        except Timeout as fault:
            hint = "Wait until it ends or stop it, or give another --out."
            what = f"is in use by process {_holder(path)}."
            raise RunError(what, code="run/locked", where=str(path.parent), hint=hint) from fault
    with held:
        yield


def _write_holder(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f" {os.getpid()} {socket.gethostname()}\n".encode())


def _holder(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(1)  # Windows keeps the first byte, which is the one that is locked, from readers
        number, _, machine = file.read().decode("ascii", "replace").strip().partition(" ")
    return (number or "unknown") + (f" on {machine}" if machine not in ("", socket.gethostname()) else "")
