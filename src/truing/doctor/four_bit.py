"""A base in 4 bit without its weights: layers of the size of bitsandbytes', which hold and lay out what those do.

Quantised weights are laid out in full for each product, forward and backward, and given back after it.
"""

from copy import deepcopy
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""A weight; 8 for the scale that 64 of them share; 32 for what 256 scales share"""


class FourBitLinear(nn.Linear):
    """Stands for a quantised linear layer where tensors have no numbers."""

    def __init__(self, like: nn.Linear | Conv1D) -> None:
        nn.Module.__init__(self)
        outputs, inputs = like.weight.shape if isinstance(like, nn.Linear) else like.weight.shape[::-1]
        self.in_features, self.out_features, self.bias = inputs, outputs, like.bias
        self.whole = like.weight.nbytes
        """Bytes before it was quantised"""
        size = ceil(like.weight.numel() * BITS / 8)
        self.weight = nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        product: Tensor = _Product.apply(rows, self.weight, self.out_features)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, outputs: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.inputs = rows.shape[-1]
        return F.linear(rows, rows.new_empty(outputs, rows.shape[-1]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return gradient @ gradient.new_empty(gradient.shape[-1], ctx.inputs), None, None


def in_four_bits(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model on the meta device, its linear layers quantised as the library would: all but the logits'."""
    model = deepcopy(model)
    for parent in list(model.base_model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Linear, Conv1D)):
                setattr(parent, name, FourBitLinear(child))
    return model
