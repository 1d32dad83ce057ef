"""Linear layers that read the same rows, in as few calls as there can be while their weights do not change."""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from truing.kernels.slices import Total, base_of, outputs_of, own, own_projection, total_of

MOST_COPIED = 1 << 26
"""Weights of a layer up to which they are copied, to be multiplied with at once. Those of larger ones take a GPU longer
than it takes to be called"""
ALIGNED = 8
"""Numbers of a row that tensor cores take at once"""


class SideBySide:
    """rows · weightᵀ + bias of some linear layers, and what an adapter adds to each that is not merged into it.

    First matrices of adapters lie one below the other, and second ones along the diagonal of a matrix that is zero
    elsewhere, so that all of them are two products. In a copy of the weights of several layers, the second ones are
    further columns: what comes out, which is wider than what goes in, is written once, and rounded once.
    """

    def __init__(self, adapter: str | None, compute: torch.dtype, copies: bool, *layers: nn.Module) -> None:
        """Adapters, and weights where there are `copies` of these, in the precision that is computed in."""
        self._bases: list[Any] = [*map(base_of, layers)]
        self._weight = self._bias = None
        if copies:
            weights, biases = zip(*map(own_projection, self._bases), strict=True)
            self._weight = torch.cat([weight.detach() for weight in weights]).to(compute)
            self._bias = None if biases[0] is None else torch.cat([bias.detach() for bias in biases]).to(compute)
        self._total = total_of(layers[0])
        self._factors = _factors(adapter, compute, layers)
        self._first: Tensor | None = None
        """(all ranks, in) first matrices, where the second ones are columns of the weight"""
        if self._weight is not None and self._factors is not None and len(layers) > 1:
            self._first, second = self._factors
            self._weight, self._factors = torch.cat([self._weight, second], 1), None

    def __call__(self, rows: Tensor) -> Tensor:
        """See `fused_backbone.SideBySide`."""
        if self._weight is None:
            outs = [base(rows) for base in self._bases]
            return self._adapted(torch.cat(outs, -1) if len(outs) > 1 else outs[0], rows)
        rows = rows.to(self._weight.dtype)
        wider = rows if self._first is None else torch.cat([rows, F.linear(rows, self._first)], -1)
        return self._adapted(F.linear(wider, self._weight, self._bias), rows)

    def added_to(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `fused_backbone.SideBySide`."""
        if self._total is not None:
            return self._total_added_to(states, rows, self._total)
        if self._weight is None or states.dtype != self._weight.dtype:
            return states.add_(self(rows))
        states.addmm_(rows, self._weight.t())
        return self._adapted(states if self._bias is None else states.add_(self._bias), rows)

    def _total_added_to(self, states: Tensor, rows: Tensor, total: Total) -> Tensor:
        """Of one layer that is cut by its inputs; each process has its bias."""
        weight, bias = own_projection(*self._bases) if self._weight is None else (self._weight, self._bias)
        rows = rows.to(weight.dtype)
        states.add_(total(self._adapted(F.linear(rows, weight), rows)))
        return states if bias is None else states.add_(bias)

    def _adapted(self, wide: Tensor, rows: Tensor) -> Tensor:
        if self._factors is None:
            return wide
        down, up = self._factors
        return wide.addmm_(F.linear(rows, down), up.t())


def _factors(adapter: str | None, compute: torch.dtype, layers: Sequence[nn.Module]) -> tuple[Tensor, Tensor] | None:
    """(all ranks, in) and (out of all layers, all ranks), scaled; None where nothing is to be added.

    Zeros fill up the ranks to as many as tensor cores take at once.
    """
    if not any(_is_beside(layer, adapter) for layer in layers):
        return None
    pairs = [_scaled(layer, adapter) if _is_beside(layer, adapter) else _nothing(layer) for layer in layers]
    downs, ups = zip(*pairs, strict=True)
    first, second = torch.cat(downs), torch.block_diag(*ups)  # type: ignore[no-untyped-call]
    lacking = -len(first) % ALIGNED
    return F.pad(first, (0, 0, 0, lacking)).to(compute), F.pad(second, (0, lacking)).to(compute)


def _scaled(layer: Any, adapter: str | None) -> tuple[Tensor, Tensor]:
    """An adapter's matrices (r, in) and (out, r)."""
    down, up = own(layer.lora_A[adapter].weight), own(layer.lora_B[adapter].weight)
    return down.detach(), up.detach() * layer.scaling[adapter]


def _nothing(layer: Any) -> tuple[Tensor, Tensor]:
    """Those of an adapter without a rank."""
    like = own(layer.weight)
    return like.new_empty(0, layer.in_features).float(), like.new_empty(outputs_of(layer), 0).float()


def _is_beside(layer: nn.Module, adapter: str | None) -> bool:
    """Whether a layer bears the adapter, and it is not in its weight already."""
    lora: Any = layer
    return isinstance(layer, LoraLayer) and adapter in lora.lora_A and adapter not in lora.merged_adapters
