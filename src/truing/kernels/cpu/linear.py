"""Linear layers by oneDNN: the products that take most of a run's time, on a CPU.

PyTorch hands float32 products to another library, which some processors run at less than half the speed
(docs/performance.md has the figures). The forward, the input's gradient and the weight's gradient are one primitive
each here, on the weights as they lie: nothing is copied. While a policy samples, few rows meet every weight, and the
time goes into rearranging the weights for products of few rows; `prepacked` does that once while they do not change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truing.kernels.cpu.products import DECODED_ROWS, product, products_in_force, reordered

MIN_WEIGHTS = 1 << 14
"""Weights below which a primitive costs more to make, for each number of rows, and to call than it saves"""
MIN_PACKED = 1 << 16
"""Weights below which a copy that is laid out for few rows gains nothing"""


class OneDnnLinear(nn.Linear):
    """A linear layer around the weight and bias of another."""

    def __init__(self, like: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = like.in_features, like.out_features
        self.weight, self.bias = like.weight, like.bias
        self.training = like.training
        self.prepacked: Tensor | None = None
        """A copy of the weight for products of few rows, where there is one just now"""

    def forward(self, rows: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if not suits(self.weight) or rows.dtype != self.weight.dtype:
            return F.linear(rows, self.weight, self.bias)
        if not torch.is_grad_enabled():
            return product(rows, self.weight, self.bias, self.prepacked)
        learnt: Tensor = _Product.apply(rows, self.weight, self.bias, self.prepacked)  # type: ignore[no-untyped-call]
        return learnt


class _Product(torch.autograd.Function):
    """rows · weightᵀ + bias, and its gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, packed: Tensor | None) -> Tensor:
        # A frozen weight needs no input for its gradient: what adapters save is mostly this.
        ctx.save_for_backward(rows if weight.requires_grad else None, weight)
        return product(rows, weight, bias, packed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        rows, weight = ctx.saved_tensors
        flat = gradient.flatten(0, -2)
        of_rows = product(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        of_weight = product(flat.t(), rows.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None
        of_bias = flat.sum(0) if ctx.needs_input_grad[2] else None
        return of_rows, of_weight, of_bias, None


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` without a gradient, by oneDNN where that gains."""
    return product(rows, weight, bias) if suits(weight) and rows.dtype == weight.dtype else F.linear(rows, weight, bias)


def one_dnn_is_there() -> bool:
    """Whether this build of PyTorch has it."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
    return bool(there)


def suits(weight: Tensor) -> bool:
    """Whether products with this weight are left to oneDNN. A model on the meta device is one that will be on a CPU."""
    large = weight.dtype == torch.float32 and weight.numel() >= MIN_WEIGHTS
    return large and weight.device.type in ("cpu", "meta") and one_dnn_is_there()


def gains_by_packing(weight: Tensor) -> bool:
    """Whether a copy laid out beforehand is worth its memory while few rows meet this weight."""
    return (
        suits(weight)
        and weight.numel() >= MIN_PACKED
        and products_in_force().by_one_dnn(DECODED_ROWS, weight.numel(), packed=True)
    )


def use_onednn_linears(model: nn.Module) -> None:
    """Puts a `OneDnnLinear` in the place of every linear layer that gains by it; parameters stay the same objects."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and suits(child.weight):
                setattr(parent, name, OneDnnLinear(child))


@contextmanager
def prepacked(model: nn.Module) -> Iterator[None]:
    """Weights laid out for products of few rows inside the block, which holds them twice; they must not change."""
    layers = [layer for layer in model.modules() if isinstance(layer, OneDnnLinear) and gains_by_packing(layer.weight)]
    try:
        for layer in layers:
            layer.prepacked = reordered(layer.weight.detach())
        yield
    finally:
        for layer in layers:
            layer.prepacked = None
