"""The memory of this process."""

import gc
import os
import re
from pathlib import Path

import torch

from truing.core.heap import give_back_what_is_free, keep_some_freed_blocks


def resident() -> int:
    """Bytes that it takes now; 0 where the system does not tell."""
    return _pages(1)


def resident_files() -> int:
    """Of its resident bytes, those that are files, such as libraries."""
    return _pages(2)


def shared_files() -> int:
    """Bytes of these that another process holds as well, as a forked one does those of whoever it was forked from.

    All of them where the system does not tell them apart.
    """
    try:
        told = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return resident_files()
    shared = re.search(r"Shared_Clean:\s+(\d+) kB", told)
    return 1024 * int(shared[1]) if shared else resident_files()


def _pages(column: int) -> int:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[column]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def release_memory() -> None:
    """Returns to the system, and to a GPU's other processes, what has been freed.

    glibc keeps it, in pieces that what follows cannot fill: without this, a run's stages add up their peaks. So does
    PyTorch of a GPU's memory.
    """
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    keep_some_freed_blocks()
    give_back_what_is_free()
