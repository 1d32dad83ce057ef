"""Which numbers a model is held in, computed in and summed in."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


def rounding(dtype: torch.dtype) -> float:
    """What may be rounding of numbers that a model computes, as a share of the largest: 1e-5, in bfloat16 1/32."""
    return max(1e-5, 4 * torch.finfo(dtype).eps)


@dataclass(frozen=True)
class Precision:
    """The words of FSDP2's `MixedPrecisionPolicy`. Adapters and scalar heads are float32, whatever their base is."""

    parameters: torch.dtype = torch.float32
    """Of the weights, and so of their gradients and of AdamW's moments where they train"""
    compute: torch.dtype = torch.float32
    """Of products and attention"""
    reductions: ClassVar[torch.dtype] = torch.float32
    """Of logits, log-probabilities, values, scores and losses, and of gradients that are sums of many parts.

    Of a sequence classifier as a reward, all is in it."""

    @classmethod
    def of(cls, compute: str, trains: bool) -> "Precision":
        """What trains is float32: bfloat16 would round away what a step changes by less than 0.002 of a weight."""
        dtype = getattr(torch, compute)
        return cls(torch.float32 if trains else dtype, dtype)

    @property
    def is_mixed(self) -> bool:
        """Whether weights are cast to be computed with."""
        return self.parameters != self.compute

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Inside, layers compute in `compute`."""
        return torch.autocast(device.type, dtype=self.compute) if self.is_mixed else nullcontext()

    def cast(self, states: Tensor) -> Tensor:
        """Hidden states for a product that autocast does not know."""
        return states.to(self.compute) if self.is_mixed else states
