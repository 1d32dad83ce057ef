"""How a model is computed: chosen once, where it is loaded, by its device, its precision and its family.

A `Backend` is the few functions that the rest asks for. The plain one works everywhere; what a device has that is
faster takes the place of its functions in `choose_backend`, and nobody else decides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.data.batching import plan_by_tokens
from truing.kernels.backbone import SkipPrefix, hidden_padded
from truing.kernels.cpu.adapted import AdaptedLinear
from truing.kernels.cpu.fused_decoding import fused_step, fuses
from truing.kernels.cpu.linear import OneDnnLinear, linear, prepacked, use_onednn_linears
from truing.kernels.float32_adapter import Float32AdaptedLinear
from truing.kernels.fused_layer import fuse_layers, fuses_layers
from truing.kernels.gpu.light_adapters import light_decoding
from truing.kernels.gpu.static_step import StaticDecoding
from truing.kernels.next_token import Vocabulary
from truing.kernels.packed_rows import (
    has_known_attention,
    hidden_causal,
    hidden_packed,
    hidden_varlen,
    packs_rows,
)
from truing.kernels.precision import Precision
from truing.kernels.vocabulary import LogitTransform, token_logprobs


class DecodeStep(Protocol):
    """Reads one token of each row, with what the tokens before it have left in a cache."""

    @property
    def is_static(self) -> bool:
        """Whether shapes are to stay what they are: of the rows, the mask and the cache."""

    @property
    def begin(self) -> "Begin | None":
        """What reads the prompts; None where the model's own layers do."""

    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Tensor | None]:
        """Tokens (B,), and a mask (B, cached + 1) of them and those before; of a static step, (B, room for all).

        Returns:
            (B, D) last hidden states, and (B, D) what left the frozen prefix where there is one.
        """


Begin = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None, Any]]
"""Prompts (B, P), padded on the left, where a mask (B, P) is 0, to (B, D) last hidden states, (B, P, D) what left the
frozen prefix where there is one, and a cache"""
Decoding = Callable[[PreTrainedModel, str | None, int | None], AbstractContextManager[DecodeStep | None]]
"""A model, the adapter in force and the depth of a frozen prefix to a block in which the model decodes and its weights
stay as they are: by the step that it yields, or by its own layers"""
Hidden = Callable[[PreTrainedModel, Tensor, Tensor, SkipPrefix, Tensor | None, Sequence[int] | None], Tensor]
"""A model, tokens (B, T) and mask (B, T) of right-padded rows, what skips a frozen prefix, the states that left it
where they are known, and the tokens of each row where the host knows them, to last hidden states (B, T, D), arbitrary
on padding"""

TokenLogprobs = Callable[
    [Tensor, Tensor, Tensor | None, Tensor, float, LogitTransform, Tensor | None, Vocabulary], Tensor
]
"""See `vocabulary.token_logprobs`"""

AdapterLayers = Mapping[type[nn.Module], type[nn.Module]]
"""Which layer carries an adapter, by the layer that it is put on; PEFT's own where none is named"""

plan_packed = partial(plan_by_tokens, padded=False)
"""Rows that are laid end to end"""

LOOK_EVERY = 16
"""Token steps after which it is looked at what a device has drawn. It is waited for as often; a row that has finished
goes on for half as many more, on average"""


@dataclass(frozen=True)
class Backend:
    """The plain backend, but for the functions that are given."""

    precision: Precision = field(default_factory=Precision)
    layers: tuple[Callable[[PreTrainedModel], None], ...] = ()
    """What puts fast layers into a model that was just loaded, one after the other; parameters stay the same objects"""
    slow_in: str = ""
    """In what layers are slower than they might be, in words"""
    adapter_layers: AdapterLayers = field(default_factory=dict)
    micro_batches: Callable[[Sequence[int], int], list[list[int]]] = plan_by_tokens
    """Tokens of each row and a budget to the rows that go through the model together"""
    pads: bool = True
    """Whether prompts of unequal length may be read side by side, the shorter ones padded on the left"""
    caches: bool = True
    """Whether the model goes on from what it remembers of the tokens before; otherwise it reads all of them again"""
    look_every: int = 1
    """Token steps after which a sampler looks at what was drawn, for which a device is waited for"""
    hidden: Hidden = hidden_padded
    decoding: Decoding = lambda *_: nullcontext()
    transform: LogitTransform | None = None
    """What the model was found to do to its logits; what its config names where None"""
    token_logprobs: TokenLogprobs = token_logprobs

    def prepare(self, model: PreTrainedModel) -> None:
        """Puts the fast layers in."""
        for put in self.layers:
            put(model)


def plain_backend(device: torch.device, precision: Precision) -> Backend:
    """The backend for whatever model on a device."""
    wide = precision.parameters == torch.float32
    adapter_layers: AdapterLayers = {} if wide else {nn.Linear: Float32AdaptedLinear}
    return Backend(precision, adapter_layers=adapter_layers, look_every=1 if device.type == "cpu" else LOOK_EVERY)


def choose_backend(
    model: PreTrainedModel, device: torch.device, precision: Precision, will_be_cut: bool = False
) -> Backend:
    """The backend for a model on a device; it may be an outline of one, on torch's meta device.

    One whose layers `will_be_cut`, each into slices for several processes, keeps linear layers of PyTorch's own.
    """
    backend = plain_backend(device, precision)
    if getattr(model, "is_quantized", False):  # PEFT's layer beside one in 4 bit copies what that gives, and adds to it
        backend = replace(backend, adapter_layers={nn.Linear: Float32AdaptedLinear})
    if device.type == "cpu" and packs_rows(model):
        backend = replace(backend, hidden=hidden_packed, micro_batches=plan_packed)
    elif device.type == "cpu" and has_known_attention(model):
        backend = replace(backend, hidden=hidden_causal)
    fuses_whole = fuses_layers(model, device, precision)
    if device.type == "cpu" and precision.compute == torch.float32:
        backend = replace(
            backend,
            decoding=partial(fused_step, reads_prompts=fuses_whole)
            if fuses(model)
            else lambda model, *_: prepacked(model),
            token_logprobs=partial(token_logprobs, linear=linear),
        )
        if not will_be_cut:
            by_one_dnn: AdapterLayers = {OneDnnLinear: AdaptedLinear, **backend.adapter_layers}
            backend = replace(backend, layers=(use_onednn_linears,), adapter_layers=by_one_dnn)
    if device.type != "cpu":
        known = has_known_attention(model)
        backend = replace(backend, decoding=StaticDecoding(precision.compute) if known else light_decoding)
        backend = replace(backend, hidden=hidden_causal) if known else backend
        if known and precision.compute == torch.bfloat16:
            backend = replace(backend, hidden=hidden_varlen, micro_batches=plan_packed)
    return replace(backend, layers=(*backend.layers, fuse_layers)) if fuses_whole else backend


def ways_to_compute(backend: Backend) -> Iterator[Backend]:
    """The backend, then with fewer layers of ours; in the last, layers and what carries their adapters are own."""
    yield backend
    if fuse_layers in backend.layers:
        what = "is not seen to learn the same by layers computed in one, so each is computed in its parts"
        yield replace(backend, layers=tuple(put for put in backend.layers if put is not fuse_layers), slow_in=what)
    what = "is not seen to learn the same by faster products and adapters, so all layers are the library's"
    yield replace(backend, layers=(), adapter_layers={}, slow_in=what)


def ways_to_learn(backend: Backend) -> Iterator[tuple[Backend, str | None]]:
    """The backend, then ones that ask less of a model and of its device, and in what these are slower, in words."""
    yield backend, None
    padded = replace(backend, micro_batches=plan_by_tokens)
    if backend.hidden is hidden_varlen:
        what = "is not read exactly in rows of different lengths, so they are padded"
        yield replace(padded, hidden=hidden_causal), what
    if backend.hidden is not hidden_padded:
        what = "needs its mask of padding, so it learns with slower attention"
        yield replace(padded, hidden=hidden_padded), what
