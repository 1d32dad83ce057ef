"""How a model is computed: chosen once, where it is loaded, by its device, its precision and its family.

A `Backend` is the few functions that the rest asks for. The plain one works everywhere; what a device has that is
faster takes the place of its functions in `choose_backend`, and nobody else decides.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.data.batching import plan_by_tokens
from truing.kernels.backbone import SkipPrefix, hidden_padded
from truing.kernels.cpu.adapted import AdaptedLinear
from truing.kernels.cpu.fused_decoding import fused_step, fuses
from truing.kernels.cpu.linear import OneDnnLinear, linear, prepacked, use_onednn_linears
from truing.kernels.next_token import Vocabulary
from truing.kernels.packed_rows import hidden_packed, packs_rows
from truing.kernels.precision import Precision
from truing.kernels.vocabulary import LogitTransform, token_logprobs

DecodeStep = Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor | None]]
"""One token (B,) of each row, a mask (B, cached + 1) and the cache to (B, D) last hidden states, and (B, D) what left
the frozen prefix where there is one"""
Decoding = Callable[[PreTrainedModel, str | None, int | None], AbstractContextManager[DecodeStep | None]]
"""A model, the adapter in force and the depth of a frozen prefix to a block in which the model decodes and its weights
stay as they are: by the step that it yields, or by its own layers"""
Hidden = Callable[[PreTrainedModel, Tensor, Tensor, SkipPrefix, Tensor | None], Tensor]
"""A model, tokens (B, T) and mask (B, T) of right-padded rows, what skips a frozen prefix, and the states that left it
where they are known, to last hidden states (B, T, D), arbitrary on padding"""

TokenLogprobs = Callable[
    [Tensor, Tensor, Tensor | None, Tensor, float, LogitTransform, Tensor | None, Vocabulary], Tensor
]
"""See `vocabulary.token_logprobs`"""


@dataclass(frozen=True)
class Backend:
    """The plain backend, but for the functions that are given."""

    precision: Precision = field(default_factory=Precision)
    prepare: Callable[[nn.Module], None] = lambda _: None
    """Puts fast layers into a model that was just loaded; parameters stay the same objects"""
    adapter_layers: Mapping[type[nn.Module], type[nn.Module]] = field(default_factory=dict)
    """Which layer carries an adapter, by the layer that it is put on; PEFT's own where none is named"""
    micro_batches: Callable[[Sequence[int], int], list[list[int]]] = plan_by_tokens
    """Tokens of each row and a budget to the rows that go through the model together"""
    pads: bool = True
    """Whether prompts of unequal length may be read side by side, the shorter ones padded on the left"""
    caches: bool = True
    """Whether the model goes on from what it remembers of the tokens before; otherwise it reads all of them again"""
    hidden: Hidden = hidden_padded
    decoding: Decoding = lambda *_: nullcontext()
    transform: LogitTransform | None = None
    """What the model was found to do to its logits; what its config names where None"""
    token_logprobs: TokenLogprobs = token_logprobs


def choose_backend(model: PreTrainedModel, device: torch.device, precision: Precision) -> Backend:
    """The backend for a model on a device; it may be an outline of one, on torch's meta device."""
    backend = Backend(precision)
    if device.type == "cpu" and packs_rows(model):
        backend = replace(backend, hidden=hidden_packed, micro_batches=partial(plan_by_tokens, padded=False))
    if device.type == "cpu" and precision.compute == torch.float32:
        backend = replace(
            backend,
            prepare=use_onednn_linears,
            adapter_layers={OneDnnLinear: AdaptedLinear},
            decoding=fused_step if fuses(model) else lambda model, *_: prepacked(model),
            token_logprobs=partial(token_logprobs, linear=linear),
        )
    return backend
