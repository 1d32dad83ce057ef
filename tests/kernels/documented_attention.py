"""Attention of rows of different lengths as PyTorch documents it, for devices that lack its kernel."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def row_by_row(*packed: Any, scale: float, window_size: tuple[int, int], enable_gqa: bool) -> Tensor:
    """What the documentation of `varlen_attn` says of queries, keys and values (N, heads, d) and where rows begin."""
    *parts, begins, of_keys, longest, of_longest_keys = packed
    assert (begins.dtype, window_size) == (torch.int32, (-1, 0))
    bounds = [*pairwise(begins.tolist())]
    assert begins is of_keys
    assert longest == of_longest_keys == max(end - start for start, end in bounds)
    mixed = []
    for start, end in bounds:
        row = (part[start:end].transpose(0, 1)[None] for part in parts)
        found = scaled_dot_product_attention(*row, is_causal=True, scale=scale, enable_gqa=enable_gqa)
        mixed.append(found[0].transpose(0, 1))
    return torch.cat(mixed)
