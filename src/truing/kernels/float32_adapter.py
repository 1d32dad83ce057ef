"""A float32 adapter on a linear layer in bfloat16 or in 4 bit, computed in the precision of what the layer gives.

PEFT casts what comes in to float32, which autograd keeps until the backward, computes the adapter's products in it, and
scales, adds and casts back in passes of their own. Here what learns is float32, and products are not: each factor is
cast, which is small, and its gradient comes back in float32.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor
from torch.nn import functional as F


class Float32AdaptedLinear(LoraLinear):
    """PEFT's layer; in everything but the forward it is PEFT's."""

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
        wide: Tensor = self.base_layer(x)
        down, up = (factor[name].weight.to(wide.dtype) for factor in (lora.lora_A, lora.lora_B))
        narrow = F.linear(x.to(wide.dtype), down).flatten(0, -2)
        # Not in place: a layer in 4 bit may give a view, which autograd would not have written over.
        return torch.addmm(wide.flatten(0, -2), narrow, up.t(), alpha=self.scaling[name]).view(wide.shape)
