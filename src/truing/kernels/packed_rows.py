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

from truing.kernels.backbone import SkipPrefix, decoder_layers, hidden_padded, is_known

MIN_LAYER_WEIGHTS = 1 << 20
"""Weights of a layer from which on a product with a token costs more than looking at rows one by one"""
ATTENTION = "truing_packed"
"""What the library knows the attention by; it makes no mask for one whose masks it does not know"""


class PackedRows:
    """Where the tokens of right-padded rows stand when the rows are laid end to end."""

    def __init__(self, lengths: Sequence[int], width: int, device: torch.device) -> None:
        """Args:
        lengths: tokens of each of B rows.
        width: T, to which they are padded.
        device: of what is to be packed.
        """
        self._shape = torch.Size((len(lengths), width))
        steps = [torch.arange(length, device=device) for length in lengths]
        self._places = torch.cat([row * width + own for row, own in enumerate(steps)])
        self.positions = torch.cat(steps)[None]
        """(1, N) where in its row each token stands"""
        self.seqlens = [(len(list(rows)), length) for length, rows in groupby(lengths)]
        """(rows, tokens of each) of neighbours that are equally long"""

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T, ...) to (1, N, ...)."""
        return padded.flatten(0, 1).index_select(0, self._places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, N, D) to (B, T, D), zero on padding."""
        whole = packed.new_zeros(self._shape.numel(), packed.shape[-1])
        return whole.index_copy(0, self._places, packed[0]).view(*self._shape, -1)

    def hidden(
        self, model: PreTrainedModel, tokens: Tensor, skip_prefix: SkipPrefix, prefix_states: Tensor | None = None
    ) -> Tensor:
        """(B, T, D) last hidden states of these rows (B, T); 0 on padding."""
        states = None if prefix_states is None else self.pack(prefix_states)
        with skip_prefix(states), row_by_row(model.config):
            output = model.base_model(
                input_ids=self.pack(tokens), position_ids=self.positions, use_cache=False, seqlens=self.seqlens
            )
        return self.unpack(output.last_hidden_state)


def packs_rows(model: PreTrainedModel) -> bool:
    """Whether a CPU gains by rows laid end to end: with a known model of large layers."""
    found = decoder_layers(model)
    return (
        found is not None
        and is_known(model)
        and model.config._attn_implementation == "sdpa"
        and sum(weight.numel() for weight in found[1][0].parameters()) >= MIN_LAYER_WEIGHTS
    )


def hidden_packed(
    model: PreTrainedModel,
    tokens: Tensor,
    attention_mask: Tensor,
    skip_prefix: SkipPrefix,
    prefix_states: Tensor | None = None,
) -> Tensor:
    """`hidden_padded`, without computing anything for padding."""
    if bool(attention_mask.all()):
        return hidden_padded(model, tokens, attention_mask, skip_prefix, prefix_states)
    rows = PackedRows(attention_mask.sum(1).tolist(), tokens.shape[1], tokens.device)
    return rows.hidden(model, tokens, skip_prefix, prefix_states)


@contextmanager
def row_by_row(config: PretrainedConfig) -> Iterator[None]:
    """Inside, attention looks at each of the rows whose `seqlens` a forward is given by itself."""
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _attention(
    module: nn.Module, queries: Tensor, keys: Tensor, values: Tensor, mask: None, *, seqlens: Any, **options: Any
) -> tuple[Tensor, None]:
    """(1, heads, N, d) each to (1, N, heads, d); every token sees those of its row up to itself."""
    mixed, start = [], 0
    for rows, length in seqlens:
        end = start + rows * length
        query, key, value = (
            part[0, :, start:end].view(-1, rows, length, part.shape[-1]).transpose(0, 1)
            for part in (queries, keys, values)
        )
        mixed.append(sdpa_attention_forward(module, query, key, value, mask, **options)[0].flatten(0, 1))
        start = end
    return torch.cat(mixed)[None], None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
