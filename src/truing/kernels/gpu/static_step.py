"""One token of each row through a model of a known family, by calls whose shapes and places do not change.

So CUDA can keep the calls of a step as a graph, and run them again without the host, which takes longer to make them
than the device takes to do what they ask.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.core.errors import first_line
from truing.kernels.backbone import decoder_layers, is_known
from truing.kernels.fused_backbone import Computed, FusedBackbone
from truing.kernels.gpu.graph import captured
from truing.kernels.gpu.light_adapters import light_adapter
from truing.kernels.gpu.side_by_side import MOST_COPIED, SideBySide
from truing.kernels.slices import is_cut

States = tuple[Tensor, Tensor | None]
"""(B, D) last hidden states, and (B, D) what left a frozen prefix where there is one"""
ROUNDING = 16
"""Times the distance of two numbers of a precision that a graph may be off from the calls it was made of"""


class StaticStep:
    """One token a row, from the whole of a mask and of the room for its cache."""

    is_static = True
    begin = None
    """Prompts are of ever other shapes"""

    def __init__(
        self, model: PreTrainedModel, adapter: str | None, prefix_depth: int | None, compute: torch.dtype
    ) -> None:
        """Adapters and copies of weights are in the precision that is computed in, and as weights are now."""
        side_by_side = partial(SideBySide, adapter, compute, compute != torch.float32 and copies_products(model))
        self._backbone = FusedBackbone(model, prefix_depth, Computed(side_by_side, _attention, scales_queries=False))
        self._compute = compute

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> States:
        """One more token (B,) of each row, the last that `mask` (B, room) counts; the `cache` is of `StaticLayer`s."""
        added = torch.zeros_like(mask, dtype=self._compute).masked_fill_(mask == 0, -torch.inf)[:, None, None]
        states, prefix = self._backbone.through(tokens[:, None], mask.sum(1, keepdim=True) - 1, added, cache)
        return states, None if prefix is None else prefix[:, 0]


def copies_products(model: PreTrainedModel) -> bool:
    """Whether a GPU that computes a model in bfloat16 copies its products for a rollout.

    In float32 there is a copy with the adapter in it, and in 4 bit weights stay what they are.
    """
    found = decoder_layers(model)
    if found is None or getattr(model, "is_quantized", False) or not is_known(model):
        return False
    return sum(weight.numel() for weight in found[1][0].parameters()) <= MOST_COPIED


def _attention(module: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """See `Computed`, of one token; `mask` (B, 1, 1, room) is added to the scores.

    Queries that share a key are as several tokens to PyTorch: else it would read a copy of the keys for each.
    """
    shared = queries.to(keys.dtype).view(len(queries), keys.shape[1], -1, keys.shape[-1])
    return F.scaled_dot_product_attention(shared, keys, values, attn_mask=mask, scale=module.scaling).flatten(1)


class GraphedStep:
    """A static step on CUDA whose calls are made once for each batch of rows, and run again for each further token.

    The first run of a graph is compared with the calls; where it gives something else, there are no more graphs.
    """

    is_static, begin = True, None

    def __init__(self, step: StaticStep, decoding: "StaticDecoding") -> None:
        self._step, self._decoding = step, decoding
        self._rows: Tensor | None = None
        """The mask of the rows that the graph is for"""
        self._kept: tuple[Any, States] | None = None
        """The graph, and what each run of it leaves"""

    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> States:
        """See `StaticStep`. The next call writes over what this one returns."""
        if not self._decoding.keeps_graphs:
            return self._step(tokens, mask, cache)
        if mask is not self._rows:
            return self._first(tokens, mask, cache)
        assert self._kept is not None
        graph, states = self._kept
        self._tokens.copy_(tokens)
        graph.replay()
        return states

    def _first(self, tokens: Tensor, mask: Tensor, cache: Any) -> States:
        """The step by its calls, of which a graph is made. Each writes the same into the cache, at the same place."""
        expected = self._step(tokens, mask, cache)
        self._rows, self._tokens, self._kept = mask, tokens.clone(), None  # with the memory that the last graph has
        try:
            self._kept = graph, states = captured(lambda: self._step(self._tokens, mask, cache))
            graph.replay()
            works, found = _alike(states[0], expected[0]), "it gave other numbers"
        except RuntimeError as error:
            works, found = False, first_line(error)
        if not works:
            self._decoding.keeps_graphs = False
            self.let_go()
            warnings.warn(f"CUDA could not keep a token's step as a graph ({found}): sampling is slower.", stacklevel=2)
        return expected

    def let_go(self) -> None:
        """Of the graph, before there is another: with one that dies late PyTorch would give back what products of all
        graphs of a stream add up in (pytorch#193402).
        """
        self._kept = self._rows = None


def _alike(states: Tensor, expected: Tensor) -> bool:
    allowed = ROUNDING * torch.finfo(expected.dtype).eps * expected.abs().max()
    return bool((states - expected).abs().max() <= allowed)


class StaticDecoding:
    """How a model decodes by a static step, and whether CUDA keeps graphs of it."""

    def __init__(self, compute: torch.dtype) -> None:
        """Computed in this precision."""
        self._compute = compute
        self.keeps_graphs = True
        """Until it failed once: each further rollout would try again, and tell it"""

    @contextmanager
    def __call__(
        self, model: PreTrainedModel, adapter: str | None, prefix_depth: int | None
    ) -> Iterator[StaticStep | GraphedStep]:
        """A step on the weights as they are now, for as long as the block lasts.

        Of slices no graph is made: sums over processes, which notice who is gone, are called one by one.
        """
        with light_adapter(model, adapter):
            step = StaticStep(model, adapter, prefix_depth, self._compute)
            if model.device.type != "cuda" or is_cut(model):
                yield step
                return
            graphed = GraphedStep(step, self)
            try:
                yield graphed
            finally:
                graphed.let_go()
