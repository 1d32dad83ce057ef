"""Operations of which a recipe may ask that they give the same bits each time, and those that do so anyway."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def in_any_order() -> Iterator[None]:
    """Inside, CUDA writes as it likes: for writes to places that differ, which come to the same in any order.

    Where all is to be deterministic it would sort the places first, in a dozen kernels for the one that writes.
    """
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)
