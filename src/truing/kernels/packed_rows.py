"""Rows of different lengths laid end to end, so that nothing is computed for padding and every weight is read once.

A decoder layer treats each token alike but in its attention, which here looks at each row by itself. Where rows are
padded, on the right, their attention needs no mask but the causal one: no token looks as far as the padding.
"""

from collections.abc import Sequence
from itertools import accumulate, chain, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from truing.core.transfer import integers
from truing.kernels.backbone import SkipPrefix, decoder_layers, is_known
from truing.kernels.cpu.short_attention import attend, is_short

MIN_LAYER_WEIGHTS = 1 << 20
"""Weights of a layer from which on a product with a token costs more than looking at rows one by one"""
ATTENTION = "truing_packed"
"""What the library knows our attention by"""
CAUSAL = (-1, 0)
"""How far a token sees to the left and to the right of it: as far as its row goes, and not at all"""


class Bounds(NamedTuple):
    """Where rows begin that are laid end to end, and where the last one ends."""

    places: Tensor
    """(B + 1,) int32"""
    longest: int
    """Tokens of the longest"""


class PackedRows:
    """Where the tokens of right-padded rows stand when the rows are laid end to end."""

    def __init__(self, lengths: Sequence[int], width: int, device: torch.device) -> None:
        """Args:
        lengths: tokens of each of B rows.
        width: T, to which they are padded.
        device: of what is to be packed.
        """
        self._shape = torch.Size((len(lengths), width))
        places = chain(*(range(row * width, row * width + length) for row, length in enumerate(lengths)))
        self._places, positions = integers([[*places], [*chain(*map(range, lengths))]], device)
        self.positions = positions[None]
        """(1, N) where in its row each token stands"""
        self.seqlens = [(len(list(rows)), length) for length, rows in groupby(lengths)]
        """(rows, tokens of each) of neighbours that are equally long"""
        self.bounds = Bounds(integers([*accumulate(lengths, initial=0)], device).int(), max(lengths))

    def pack(self, padded: Tensor) -> Tensor:
        """(B, T, ...) to (1, N, ...)."""
        return padded.flatten(0, 1).index_select(0, self._places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """(1, N, D) to (B, T, D), zero on padding."""
        whole = packed.new_zeros(self._shape.numel(), packed.shape[-1])
        return whole.index_copy(0, self._places, packed[0]).view(*self._shape, -1)

    def hidden(
        self, model: PreTrainedModel, tokens: Tensor, skip: SkipPrefix, states: Tensor | None, by_kernel: bool = False
    ) -> Tensor:
        """(B, T, D) last hidden states of these rows (B, T), 0 on padding; `states` as in `hidden_padded`.

        Attention looks at all rows at once where there is a kernel for that, else at neighbours of one length.
        """
        model.config._attn_implementation = ATTENTION  # for good: a layer may run again, in its backward
        with skip(None if states is None else self.pack(states)):
            output = model.base_model(
                input_ids=self.pack(tokens),
                attention_mask=_no_mask(tokens),
                position_ids=self.positions,
                use_cache=False,
                seqlens=self.bounds if by_kernel else self.seqlens,
            )
        return self.unpack(output.last_hidden_state)


def has_known_attention(model: PreTrainedModel) -> bool:
    """Whether all that a model's attention looks at is known, of a known model, as it comes: no window beside the mask,
    which may be one of booleans.
    """
    return is_known(model) and model.config._attn_implementation == "sdpa"


def packs_rows(model: PreTrainedModel) -> bool:
    """Whether a CPU gains by rows laid end to end: with a known model of large layers."""
    found = decoder_layers(model)
    return (
        found is not None
        and has_known_attention(model)
        and sum(weight.numel() for weight in found[1][0].parameters()) >= MIN_LAYER_WEIGHTS
    )


def hidden_packed(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor,
    skip: SkipPrefix,
    states: Tensor | None,
    lengths: Sequence[int] | None = None,
) -> Tensor:
    """`hidden_padded`, without computing anything for padding."""
    lengths, width = lengths or mask.sum(1).tolist(), tokens.shape[1]
    if min(lengths) == width:
        return hidden_causal(model, tokens, mask, skip, states)
    return PackedRows(lengths, width, tokens.device).hidden(model, tokens, skip, states)


def hidden_varlen(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor,
    skip: SkipPrefix,
    states: Tensor | None,
    lengths: Sequence[int] | None = None,
) -> Tensor:
    """`hidden_packed` for a GPU, by its kernel for rows of different lengths."""
    lengths, width = lengths or mask.sum(1).tolist(), tokens.shape[1]
    if min(lengths) == width:
        return hidden_causal(model, tokens, mask, skip, states)
    return PackedRows(lengths, width, tokens.device).hidden(model, tokens, skip, states, by_kernel=True)


def hidden_causal(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor,
    skip: SkipPrefix,
    states: Tensor | None,
    lengths: Sequence[int] | None = None,
) -> Tensor:
    """`hidden_padded`, without the mask of padding: attention has faster kernels, and no device is waited for to see
    whether there is padding at all.
    """
    model.config._attn_implementation = ATTENTION  # for good, as above
    with skip(states):
        output = model.base_model(
            input_ids=tokens,
            attention_mask=_no_mask(tokens),
            position_ids=torch.arange(tokens.shape[1], device=tokens.device)[None],
            use_cache=False,
        )
    hidden: Tensor = output.last_hidden_state
    return hidden


def _no_mask(like: Tensor) -> Tensor:
    """For the library a mask that is ready; nobody reads it."""
    return like.new_empty(1, 1, 0, 0)


def _attention(module: nn.Module, *inputs: Any, seqlens: Any = None, **options: Any) -> Any:
    """The library's, of queries, keys, values and mask. Packed ones, (1, heads, N, d) each, see their own row alone.

    Options are the library's, and `by_products`: whether short rows are mixed by products.
    """
    if isinstance(seqlens, Bounds):
        queries, keys, values, *_ = inputs
        return _by_kernel(queries, keys, values, seqlens, options["scaling"])[None], None
    if seqlens is None:
        mask = inputs[3]
        return _of_rows(module, inputs[:3], None if mask is not None and mask.numel() == 0 else mask, **options), None
    mixed, start = [], 0
    for rows, length in seqlens:
        end = start + rows * length
        own = (part[0, :, start:end].view(-1, rows, length, part.shape[-1]).transpose(0, 1) for part in inputs[:3])
        mixed.append(_of_rows(module, [*own], None, **options).flatten(0, 1))
        start = end
    return torch.cat(mixed)[None], None


def _of_rows(
    module: nn.Module, inputs: Sequence[Tensor], mask: Tensor | None, by_products: bool = False, **options: Any
) -> Tensor:
    """(B, T, heads, d) from queries, keys and values; without a mask, a token sees those of its row up to it."""
    queries, keys, values = inputs
    if by_products and mask is None and is_short(queries, keys, values):
        return attend(queries, keys, values, options["scaling"])
    if mask is None and _wants_keys_for_each(queries, keys):
        keys, values = (part.repeat_interleave(queries.shape[1] // part.shape[1], dim=1) for part in (keys, values))
        own = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=options["scaling"])
        return own.transpose(1, 2)
    attention: Any = sdpa_attention_forward
    mixed: Tensor = attention(module, queries, keys, values, mask, **options)[0]
    return mixed


def _wants_keys_for_each(queries: Tensor, keys: Tensor) -> bool:
    """Whether PyTorch would hold the scores of all pairs of tokens, for want of a kernel on CUDA that is in single
    precision and has several queries share a key (pytorch#154363).
    """
    return queries.is_cuda and queries.dtype == torch.float32 and keys.shape[1] < queries.shape[1]


def _by_kernel(queries: Tensor, keys: Tensor, values: Tensor, bounds: Bounds, scaling: float) -> Tensor:
    """(N, heads, d) from packed queries, keys and values, in the numbers of these last, as autocast would have it."""
    queries, keys, values = (part[0].transpose(0, 1).to(values.dtype) for part in (queries, keys, values))
    at, most = bounds
    mixed = varlen_attn(queries, keys, values, at, at, most, most, scale=scaling, window_size=CAUSAL, enable_gqa=True)
    assert isinstance(mixed, Tensor)
    return mixed


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)
