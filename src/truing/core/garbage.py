"""Garbage is looked for among what a run makes, not among the million objects of the libraries."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_kept = False
"""Whether the libraries are left out. Python itself counts what it has frozen one by one, which takes 40 ms"""


def keep_libraries() -> None:
    """What is there stays as long as this process does, and is not looked through again."""
    global _kept
    gc.freeze()
    _kept = True


@contextmanager
def libraries_kept() -> Iterator[None]:
    """Inside, what was there before is not looked through each time.

    Whoever has seen to that before, for longer, keeps it so.
    """
    global _kept
    if _kept or gc.get_freeze_count():
        yield
        return
    keep_libraries()
    try:
        yield
    finally:
        _kept = False
        gc.unfreeze()
