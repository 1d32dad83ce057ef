"""Out of memory, told as what it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from truing.core.errors import TrainingError

_REFUSED = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What torch says of memory that the system, CUDA or one of its libraries lacks"""


@contextmanager
def memory_faults(where: str) -> Iterator[None]:
    """Turns what Python and torch raise in the block for want of memory into a TrainingError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (
            isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in _REFUSED)
        ):
            raise
        raise TrainingError(
            "there is not enough memory.",
            code="training/out-of-memory",
            where=where,
            hint="What was saved is sound. Free memory and go on with the same command, or begin a fork with "
            "--fork-to NEW and lower compute.learn_tokens, score_tokens or rollout_rows, or set "
            "compute.gradient_checkpointing: true; `truing doctor RECIPE` says what would fit.",
        ) from error
