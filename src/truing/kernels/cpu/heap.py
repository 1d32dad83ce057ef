"""What becomes of memory that is freed: glibc keeps it for what follows, or returns it to the system.

A page that was returned is taken again by a fault, which costs as much as a pass over it or two.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What glibc calls the bytes that may lie free at the end of the heap, and the size of a block that lies outside"""
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


def _set(what: int, size: int) -> None:
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        libc.mallopt(what, size)
