"""What reward a policy gains by moving away from its start: the two forms of Gao et al. 2022 (arXiv:2210.10760).

With d = √KL(π‖π_ref) and R the gain of the true reward, or of the one that is optimised, over the start:

    best-of-n:               R(d) = d·(α − β·d)             highest at d = α / 2β
    reinforcement learning:  R(d) = d·(α − β·log d)         highest at d = e^(α/β − 1)

α is how well it pays at first to move, β how fast that pay gives out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import torch

Form = Literal["best-of-n", "reinforcement learning"]

_PRICE: dict[Form, Callable[[float], float]] = {
    "best-of-n": lambda distance: distance,
    "reinforcement learning": lambda distance: math.log(distance),
}
"""What β is multiplied by, at a distance"""


@dataclass(frozen=True)
class FrontierFit:
    """A form, fitted by least squares to gains at distances."""

    form: Form
    alpha: float
    beta: float
    explained: float
    """Share of the variance of the gains about their mean (R²); below 0, the mean says more"""
    points: int

    def gain(self, distance: float) -> float:
        """R(d)."""
        return distance * (self.alpha - self.beta * _PRICE[self.form](distance)) if distance > 0 else 0.0

    @property
    def peak(self) -> float | None:
        """The distance at which the form is highest, wherever that lies; None where it never falls."""
        if self.beta <= 0 or (self.form == "best-of-n" and self.alpha <= 0):
            return None
        exponent = self.alpha / self.beta - 1
        largest = 700.0  # of e to a power that is still a number
        return self.alpha / (2 * self.beta) if self.form == "best-of-n" else math.exp(min(exponent, largest))


def fit_frontier(form: Form, distances: Sequence[float], gains: Sequence[float]) -> FrontierFit | None:
    """The form with the α and β of least squared error; None where fewer than three distances are above 0.

    distances: d ≥ 0, √nats; those of 0 say nothing, since every curve begins there. gains: of each, R.
    """
    moved = [(distance, gain) for distance, gain in zip(distances, gains, strict=True) if distance > 0]
    if len({distance for distance, _ in moved}) < 3:
        return None
    columns = torch.tensor([[d, -d * _PRICE[form](d)] for d, _ in moved], dtype=torch.float64)
    reached = torch.tensor([gain for _, gain in moved], dtype=torch.float64)
    alpha, beta = torch.linalg.lstsq(columns, reached[:, None]).solution[:, 0].tolist()
    mean = fmean(gain for _, gain in moved)
    whole = sum((gain - mean) ** 2 for _, gain in moved)
    left = float((reached - columns @ torch.tensor([alpha, beta], dtype=torch.float64)).square().sum())
    return FrontierFit(form, alpha, beta, 1 - left / whole if whole else 0.0, len(moved))
