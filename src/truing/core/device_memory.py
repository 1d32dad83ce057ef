"""How PyTorch takes a GPU's memory, which it reads as CUDA starts."""

import os

ALLOCATOR, ALLOCATOR_OF_CUDA = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
GROWS = "expandable_segments:True"
"""Blocks that grow: micro-batches of ever other lengths would leave gaps that no later tensor fits into"""


def have_blocks_grow() -> None:
    """Where nobody has set it otherwise."""
    if ALLOCATOR_OF_CUDA not in os.environ:
        os.environ.setdefault(ALLOCATOR, GROWS)
