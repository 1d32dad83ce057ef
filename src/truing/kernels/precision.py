"""Which numbers a model is held in, computed in and summed in."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Precision:
    """The words of FSDP2's `MixedPrecisionPolicy`. Adapters and scalar heads are float32, whatever their base is."""

    parameters: torch.dtype = torch.float32
    """Of the weights, and so of their gradients and of AdamW's moments where they train"""
    compute: torch.dtype = torch.float32
    """Of products and attention"""
    reductions: ClassVar[torch.dtype] = torch.float32
    """Of logits, log-probabilities, values and losses, and of gradients that are sums of many parts"""

    @classmethod
    def of(cls, compute: str, trains: bool) -> "Precision":
        """Frozen weights are held as they are computed in. Weights that train are float32.

        An update of less than half a step of bfloat16, 0.002 of a weight, would be rounded away.
        """
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
        """Hidden states as a product that autocast does not know is to take them."""
        return states.to(self.compute) if self.is_mixed else states
