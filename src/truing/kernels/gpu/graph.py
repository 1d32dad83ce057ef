"""Calls that CUDA keeps as a graph, or refuses to, in which case all is as it was before."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch

T = TypeVar("T")


def captured(calls: Callable[[], T]) -> tuple[torch.cuda.CUDAGraph, T]:
    """A graph of the calls, and what they return, whose memory each run of it fills anew.

    Raises:
        RuntimeError: they cannot be kept.
    """
    graph, stream, pool = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), torch.cuda.graph_pool_handle()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # others may ask CUDA meanwhile
            found = calls()
    except BaseException:  # a run that is asked to end may be left in the midst of it
        _put_back(stream, pool)
        raise
    return graph, found


def _put_back(stream: torch.cuda.Stream, pool: tuple[int, int]) -> None:
    """What PyTorch leaves as in the midst of a capture where CUDA breaks it off.

    The stream of the capture would stay the current one. The allocator would take the capture to be under way for
    good: it then stops at an assertion of its own as soon as freed memory is to go back to the GPU.
    """
    torch.cuda.set_stream(stream)
    # A capture that did end, of calls that failed by themselves, has let go of its pool; another torch has other names.
    with suppress(RuntimeError, AttributeError):
        torch._C._cuda_endAllocateToPool(stream.device_index, pool)
        torch._C._cuda_releasePool(stream.device_index, pool)
