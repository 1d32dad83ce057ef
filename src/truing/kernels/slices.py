"""Layers of which this process has a slice, computed on tensors of its own.

The first of a pair is cut by its outputs, the second by its inputs, and what the second gives is summed over the
processes that have the other slices; so is the gradient of what the first reads (Shoeybi et al. 2019, arXiv:1909.08053,
section 3).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from transformers import PreTrainedModel

Total = Callable[[Tensor], Tensor]
"""The sum of a tensor over the processes that have the other slices; it may stand in the place of the tensor"""


class CutByOutputs(nn.Linear):
    """Rows (..., in) to this process's outputs (..., out / processes)."""

    total: Total

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        return F.linear(_Entering.apply(rows, self.total), *own_projection(self))  # type: ignore[no-untyped-call]


class CutByInputs(nn.Linear):
    """This process's inputs (..., in / processes) to rows (..., out)."""

    total: Total

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        weight, bias = own_projection(self)
        whole: Tensor = _Leaving.apply(F.linear(rows, weight), self.total)  # type: ignore[no-untyped-call]
        return whole if bias is None else whole + bias


class CutEmbedding(nn.Embedding):
    """Tokens (...) to their embeddings (..., D), of which each process has some."""

    total: Total
    first: int
    """Of the tokens whose embedding is here"""

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        weight, place = own(self.weight), tokens - self.first
        here = (place >= 0) & (place < len(weight))
        padding = None if self.padding_idx is None else self.padding_idx - self.first
        if padding is not None and not 0 <= padding < len(weight):
            padding = None
        rows = F.embedding(torch.where(here, place, 0), weight, padding).masked_fill(~here[..., None], 0)
        embedded: Tensor = _Leaving.apply(rows, self.total)  # type: ignore[no-untyped-call]
        return embedded


class LinearDrawnWhole(LoraLinear):
    """PEFT's low-rank layer on one that is cut, drawn for the whole of it, as in one process, and only then cut too.

    It is by "Linear" in its name that PEFT knows what carries an adapter already for a linear layer.
    """

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.in_features, module.out_features


def own(weight: Tensor) -> Tensor:
    """This process's part of a weight, through which a gradient flows back; the weight itself where it is whole."""
    to_local: Callable[[], Tensor] | None = getattr(weight, "to_local", None)
    return weight if to_local is None else to_local()


def own_projection(layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """What this process has of a layer's weight and bias."""
    return own(layer.weight), None if layer.bias is None else own(layer.bias)


def base_of(layer: Any) -> Any:
    """The linear layer itself, where an adapter is around it."""
    return layer.get_base_layer() if isinstance(layer, LoraLayer) else layer


def is_cut(model: PreTrainedModel) -> bool:
    """Whether this process has slices of a model's layers."""
    return isinstance(model.get_input_embeddings(), CutEmbedding)


def outputs_of(layer: Any) -> int:
    """How many outputs this process has of a linear layer, with an adapter or without."""
    base = base_of(layer)
    return own(base.weight).shape[0] if isinstance(base, CutByOutputs) else int(layer.out_features)


def total_of(layer: nn.Module) -> Total | None:
    """What sums over the processes among which a layer, with an adapter or without, is cut; None for a whole one."""
    base = base_of(layer)
    return base.total if isinstance(base, CutByOutputs | CutByInputs) else None


def summed(tensors: Sequence[Tensor | None], total: Total) -> list[Tensor | None]:
    """Those that are there, each summed over the processes, by one call for all that have like numbers.

    One that is alone may be summed in its place.
    """
    found = [*tensors]
    there = [(place, tensor) for place, tensor in enumerate(tensors) if tensor is not None]
    for dtype in dict.fromkeys(tensor.dtype for _, tensor in there):
        own = [(place, tensor) for place, tensor in there if tensor.dtype == dtype]
        rows = [tensor.flatten() for _, tensor in own]
        flat = total(torch.cat(rows) if len(rows) > 1 else rows[0])
        for (place, tensor), part in zip(own, torch.split(flat, [len(row) for row in rows]), strict=True):
            found[place] = part.view(tensor.shape)
    return found


class _Entering(Function):
    """Rows as they are, whose gradient is summed over the processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, total: Total) -> Tensor:
        ctx.total = total
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.total(gradients[0].clone(memory_format=torch.contiguous_format)), None


class _Leaving(Function):
    """The sum of rows over the processes, which all have the same gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, total: Total) -> Tensor:
        return total(rows.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
