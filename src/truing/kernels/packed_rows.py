"""Rows of different lengths laid end to end, so that nothing is computed for padding and every weight is read once.

A decoder layer treats each token alike but in its attention, which here looks at each row by itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from truing.kernels.families import is_known
from truing.models.prefix import decoder_layers

LARGE = 1 << 20
"""Weights of a layer from which on a product with a token costs more than looking at rows one by one"""
ATTENTION = "truing_flat"
"""What the library knows the attention by; it makes no mask for one whose masks it does not know"""


class PackedRows:
    """Where the tokens of right-padded rows stand when the rows are laid end to end."""

    def __init__(self, lengths: Sequence[int], width: int, device: torch.device) -> None:
        """Args:
        lengths: tokens of each of B rows.
        width: T, to which they are padded.
        device: of what is to be laid out.
        """
        self._shape = torch.Size((len(lengths), width))
        steps = [torch.arange(length, device=device) for length in lengths]
        self._places = torch.cat([row * width + own for row, own in enumerate(steps)])
        self.positions = torch.cat(steps)[None]
        """(1, N) where in its row each token stands"""
        self.spans = [(len(list(rows)), length) for length, rows in groupby(lengths)]
        """(rows, tokens of each) of neighbours that are equally long"""

    def joined(self, padded: Tensor) -> Tensor:
        """(B, T, ...) to (1, N, ...)."""
        return padded.flatten(0, 1).index_select(0, self._places)[None]

    def padded(self, joined: Tensor) -> Tensor:
        """(1, N, D) to (B, T, D), zero on padding."""
        whole = joined.new_zeros(self._shape.numel(), joined.shape[-1])
        return whole.index_copy(0, self._places, joined[0]).view(*self._shape, -1)


def packs_rows(model: PreTrainedModel, device: torch.device) -> bool:
    """Whether rows are laid end to end for a model on a device: a known one with large layers, on a CPU."""
    found = decoder_layers(model)
    return (
        found is not None
        and is_known(model)
        and model.config._attn_implementation == "sdpa"
        and device.type == "cpu"
        and sum(weight.numel() for weight in found[1][0].parameters()) >= LARGE
    )


@contextmanager
def row_by_row(config: PretrainedConfig) -> Iterator[None]:
    """Inside, attention looks at each of the `spans` that a forward is given by itself."""
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _attention(
    module: nn.Module, queries: Tensor, keys: Tensor, values: Tensor, mask: None, *, spans: Any, **options: Any
) -> tuple[Tensor, None]:
    """(1, heads, N, d) each to (1, N, heads, d); every token sees those of its row up to itself."""
    mixed, start = [], 0
    for rows, length in spans:
        end = start + rows * length
        query, key, value = (
            part[0, :, start:end].view(-1, rows, length, part.shape[-1]).transpose(0, 1)
            for part in (queries, keys, values)
        )
        mixed.append(sdpa_attention_forward(module, query, key, value, mask, **options)[0].flatten(0, 1))
        start = end
    return torch.cat(mixed)[None], None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
