"""What becomes of memory that is freed: glibc keeps it for what follows, or returns it to the system.

A page that was returned is taken again by a fault, which costs as much as a pass over it or two. Other C libraries have
no such settings, and are left alone; so is glibc where whoever started this process has set them.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""What glibc calls the bytes that may lie free at the end of the heap, and the size of a block that lies outside"""
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
"""Those that say where memory lies; `GLIBC_TUNABLES` may too"""
KEPT = 1 << 27
"""Bytes, more than a micro-batch of a small model leaves behind"""
LARGEST = 1 << 25
"""Bytes of a block that may lie in the heap; glibc takes no more"""
NEVER = -1
"""No number of bytes is too many"""
LARGE = 1 << 20
"""Bytes of a block that is given back at once, where that is wanted"""
_all_kept = False


def keep_freed_blocks() -> None:
    """Has glibc keep what a micro-batch leaves behind for the next one.

    Left to itself, it returns the end of the heap whenever a few tensors there are free, thousands of times an update.
    """
    _set(M_MMAP_THRESHOLD, LARGEST)
    _set(M_TRIM_THRESHOLD, KEPT)


def keep_all_freed_blocks() -> None:
    """Has glibc keep what a step leaves behind, however much it is, until `keep_some_freed_blocks`.

    Gradients of a model that learns in all its weights are there again at the next step. Blocks larger than `LARGEST`,
    such as those of embeddings, go back as before: in the heap they would leave gaps.
    """
    global _all_kept
    _set(M_MMAP_THRESHOLD, LARGEST)
    _set(M_TRIM_THRESHOLD, NEVER)
    _all_kept = True


def keep_some_freed_blocks() -> None:
    """Ends `keep_all_freed_blocks`, where that was told: what follows frees other blocks."""
    global _all_kept
    if _all_kept:
        keep_freed_blocks()
    _all_kept = False


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
    is_set = any(name in os.environ for name in VARIABLES) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if not is_set and (glibc := _having("mallopt")):
        glibc.mallopt(what, size)


def _having(function: str) -> ctypes.CDLL | None:
    """The C library that this process has loaded, if it has such a function; musl has neither."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, function) else None
