"""A float32 adapter on a linear layer in bfloat16 or in 4 bit.

PEFT casts what comes in to float32 for the adapter, and autograd keeps that copy until the backward: one for each
layer, where several read the same states. Here what came in is kept as it came, and cast once more.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor
from torch.nn import functional as F


class Float32AdaptedLinear(LoraLinear):
    """PEFT's layer; in everything but what it keeps for the backward it is PEFT's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fan_in_fan_out = False  # whatever other layers of the model are

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., in) to (..., out) through the adapter in force, where there is one."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or self.merged or len(active) != 1:
            return super().forward(x, *args, **kwargs)
        (name,) = active
        lora: Any = self
        factors = lora.lora_A[name].weight, lora.lora_B[name].weight, self.scaling[name]
        added: Tensor = _WithAdapter.apply(self.base_layer(x), x, *factors)  # type: ignore[no-untyped-call]
        return added


class _WithAdapter(torch.autograd.Function):
    """wide + scale · (rows · downᵀ) · upᵀ. Hu et al. 2021 (arXiv:2106.09685), equation 3.

    wide (..., out) and rows (..., in) in the layer's precision, down (r, in) and up (out, r) in that of all sums.
    """

    @staticmethod
    def forward(ctx: Any, wide: Tensor, rows: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        narrow = F.linear(rows.to(down.dtype), down)
        ctx.save_for_backward(rows, down, up, narrow)
        ctx.scale = scale
        return F.linear(narrow, up).mul_(scale).add_(wide).to(wide.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, down, up, narrow = ctx.saved_tensors
        of_part = gradients[0].to(up.dtype, copy=True).mul_(ctx.scale)
        of_narrow = of_part @ up
        of_rows = (of_narrow @ down).to(rows.dtype) if ctx.needs_input_grad[1] else None
        of_down = of_up = None
        if ctx.needs_input_grad[2]:
            of_down = of_narrow.flatten(0, -2).t() @ rows.flatten(0, -2).to(down.dtype)
        if ctx.needs_input_grad[3]:
            of_up = of_part.flatten(0, -2).t() @ narrow.flatten(0, -2)
        return gradients[0], of_rows, of_down, of_up, None
