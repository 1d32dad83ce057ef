"""A linear layer with a low-rank adapter, forward and backward in as few passes over memory as there can be.

PEFT holds the adapters, saves and merges them. Its forward scales and adds the adapter's part in passes of their own
and leaves narrow products to a library that is slow at them; here each is added while it is computed.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor

from truing.kernels.cpu.linear import OneDnnLinear, suits
from truing.kernels.cpu.products import one_dnn, product
from truing.kernels.products import add_narrow, merged, merges, narrow_product


class AdaptedLinear(LoraLinear):
    """PEFT's layer around a `OneDnnLinear`; in everything but the forward it is PEFT's."""

    base_layer: OneDnnLinear

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fan_in_fan_out = False  # whatever other layers of the model are

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., in) to (..., out) through the adapter in force, where there is one."""
        base = self.base_layer
        active = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or not active:
            return base(x)  # type: ignore[no-any-return]
        if self.merged or len(active) > 1 or not suits(base.weight) or x.dtype != base.weight.dtype:
            return super().forward(x, *args, **kwargs)
        (name,) = active
        lora: Any = self
        factors = lora.lora_A[name].weight, lora.lora_B[name].weight, self.scaling[name]
        if not torch.is_grad_enabled() and merges(x):
            return product(x, merged(base.weight, *factors), base.bias)
        adapted: Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, *factors, base.prepacked
        )
        return adapted


class _Adapted(torch.autograd.Function):
    """rows · weightᵀ + bias + scale · (rows · downᵀ) · upᵀ. Hu et al. 2021 (arXiv:2106.09685), equation 3.

    rows (..., in), weight (out, in) frozen, down (r, in), up (out, r).
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        packed: Tensor | None,
    ) -> Tensor:
        narrow = narrow_product(rows, down).mul_(scale)
        ctx.save_for_backward(rows, weight, down, up, narrow)
        ctx.scale = scale
        return add_narrow(product(rows, weight, bias, packed), narrow, up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, down, up, narrow = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_narrow = narrow_product(gradient, up.t()).mul_(ctx.scale)
        of_rows = None
        if ctx.needs_input_grad[0]:
            of_rows = add_narrow(product(gradient, weight.t()), of_narrow, down.t())
        flat, flat_narrow = gradient.flatten(0, -2), narrow.flatten(0, -2)
        of_down = one_dnn(of_narrow.flatten(0, -2).t(), rows.flatten(0, -2).t()) if ctx.needs_input_grad[3] else None
        of_up = one_dnn(flat_narrow.t(), flat.t()).t() if ctx.needs_input_grad[4] else None
        return of_rows, None, None, of_down, of_up, None, None
