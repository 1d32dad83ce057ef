"""How far two quantities go together: over all, within groups, and how sure that is."""

import math
from statistics import NormalDist

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def pearson(x: Float[Tensor, " N"], y: Float[Tensor, " N"]) -> float | None:
    """Pearson's correlation of (N,) values, −1 to 1; None where one of the two does not vary."""
    if bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return None
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x.norm() * y.norm()))


def within_groups(values: Float[Tensor, " N"], groups: Shaped[Tensor, " N"]) -> Float[Tensor, " N"]:
    """(N,) values less the mean of their own group: what is left of them once groups are compared with themselves.

    groups (N,): integers from 0, equal within a group.
    """
    count = int(groups.max()) + 1
    sums = torch.zeros(count, dtype=values.dtype).index_add(0, groups, values)
    sizes = torch.bincount(groups, minlength=count)
    return values - (sums / sizes.clamp(min=1))[groups]


def correlation_interval(correlation: float, independent: int, confidence: float = 0.95) -> tuple[float, float]:
    """Fisher's interval of a correlation of so many `independent` observations: tanh(artanh r ± z/√(n − 3)).

    Fisher 1915. Three observations or fewer tell nothing: (−1, 1). One of ±1 is certain of itself.
    """
    if independent <= 3:
        return -1.0, 1.0
    if abs(correlation) >= 1:
        return correlation, correlation
    half = NormalDist().inv_cdf((1 + confidence) / 2) / math.sqrt(independent - 3)
    return math.tanh(math.atanh(correlation) - half), math.tanh(math.atanh(correlation) + half)
