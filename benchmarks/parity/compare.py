"""How far two measurements are apart."""

from dataclasses import dataclass

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
        return max(self.loss, self.gradient, self.relative) <= TOLERANCE


def gap(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> Gap:
    """ValueError if the two do not have the same parameters."""
    if set(theirs) != set(ours):
        raise ValueError(f"only one side has a gradient of {sorted(set(theirs) ^ set(ours))}")
    names = [name for name in theirs if name != "loss"]
    largest = max(float(theirs[name].abs().max()) for name in names)
    furthest = max(float((theirs[name] - ours[name]).abs().max()) for name in names)
    return Gap(abs(float(theirs["loss"] - ours["loss"])), furthest, furthest / largest)
