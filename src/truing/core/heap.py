"""What becomes of memory that is freed: glibc keeps it for what follows, or returns it to the system.

A page that was returned is taken again by a fault, which costs as much as a pass over it or two. Other C libraries have
no such settings, and are left alone; so is glibc where whoever started this process has set them.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What glibc calls the bytes that may lie free at the end of the heap, and the size of a block that lies outside"""
SET_BY = {M_TRIM_THRESHOLD: "MALLOC_TRIM_THRESHOLD_", M_MMAP_THRESHOLD: "MALLOC_MMAP_THRESHOLD_"}
"""The variables that say the same; `GLIBC_TUNABLES` may, of both"""
KEPT = 1 << 27
"""Bytes, more than a micro-batch of a small model leaves behind"""
LARGEST = 1 << 25
"""Bytes of a block that may lie in the heap; glibc takes no more"""
LARGE = 1 << 20
"""Bytes of a block that is given back at once, where that is wanted"""


def keep_freed_blocks() -> None:
    """Has glibc keep what a micro-batch leaves behind for the next one.

    Left to itself, it returns the end of the heap whenever a few tensors there are free, thousands of times an update.
    """
    _set(M_MMAP_THRESHOLD, LARGEST)
    _set(M_TRIM_THRESHOLD, KEPT)


def give_back_large_blocks() -> None:
    """Has glibc return to the system at once what a layer's weights took.

    Left to itself, it learns from the first of them to keep their like on its heap, where blocks of all sizes come and
    go with each layer and leave gaps: that cost more than spreading the weights saved.
    """
    _set(M_MMAP_THRESHOLD, LARGE)


def give_back_what_is_free() -> None:
    """Returns to the system all pages that have nothing on them, wherever they are."""
    if glibc := _having("malloc_trim"):
        glibc.malloc_trim(0)


def _set(what: int, size: int) -> None:
    is_set = SET_BY[what] in os.environ or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if not is_set and (glibc := _having("mallopt")):
        glibc.mallopt(what, size)


def _having(function: str) -> ctypes.CDLL | None:
    """The C library that this process has loaded, if it has such a function; musl has neither."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, function) else None
