"""How far two measurements are apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Gap:
    """Between a loss and its gradients and ours."""

    loss: float
    """Absolute difference of the loss"""
    gradient: float
    """Largest absolute difference of any entry of any gradient"""
    relative: float
    """The same over the largest entry of any gradient"""

    @property
    def closed(self) -> bool:
        """Whether it is rounding."""
        return all(value <= TOLERANCE for value in (self.loss, self.gradient, self.relative))


def gap(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> Gap:
    """ValueError if the two do not have the same parameters."""
    if set(theirs) != set(ours):
        raise ValueError(f"only one side has a gradient of {sorted(set(theirs) ^ set(ours))}")
    names = [name for name in theirs if name != "loss"]
    largest = torch.stack([theirs[name].abs().max() for name in names]).max()  # torch's max lets NaN through
    furthest = torch.stack([(theirs[name] - ours[name]).abs().max() for name in names]).max()
    return Gap(float((theirs["loss"] - ours["loss"]).abs()), float(furthest), float(furthest / largest))
