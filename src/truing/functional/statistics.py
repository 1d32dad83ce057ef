"""Figures that say how far another figure can be trusted."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from truing.functional.masked import masked_mean
from truing.functional.shapes import MaskOfValues, Number, Scalar, Values


@dataclass(frozen=True)
class CalibrationBin:
    """The predictions of about one confidence, and how often they came true."""

    confidence: float
    """mean of the predictions"""
    accuracy: float
    """share that came true"""
    count: int
    """predictions in the bin, at least 1"""


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval (lo, hi) of a share, good for few trials and for shares near 0 or 1.

        (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n)      p = successes / n

    Wilson 1927, "Probable inference". No trials tell nothing: (0, 1). Raises ValueError unless
    0 ≤ successes ≤ total.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"successes must be between 0 and the total of {total}, not {successes}")
    if total == 0:
        return 0.0, 1.0
    z, share = _quantile(confidence), successes / total
    centre = share + z**2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(values: Sequence[Number], confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, lo, hi) of independent values by the normal approximation: mean ± z·s/√n, s with n − 1.

    One value has no spread to measure, so its interval closes on it. Raises ValueError on none.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    mean = fmean(values)
    half = _quantile(confidence) * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return mean, mean - half, mean + half


def mean_interval_of_few(values: Sequence[Number], confidence: float = 0.95) -> tuple[float, float, float]:
    """The same by Student's t, for values so few that their spread is a guess too: mean ± t·s/√n.

    Student 1908, "The probable error of a mean". Of three values it is 2.2 times as wide. Raises ValueError on fewer
    than two.
    """
    if len(values) < 2:
        raise ValueError("a spread needs at least two values")
    mean = fmean(values)
    half = _student_quantile(confidence, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def calibration_bins(
    confidences: Float[Tensor, " N"], outcomes: Shaped[Tensor, " N"], bins: int = 10
) -> list[CalibrationBin]:
    """The reliability diagram: predictions sorted into `bins` equal parts of [0, 1], empty ones left out.

    confidences (N,) in [0, 1]; outcomes (N,) 1 or True where the prediction came true. A confidence on the edge of two
    bins belongs to the upper one, and 1 to the last.
    """
    index = (confidences * bins).long().clamp(0, bins - 1)
    members = [index == b for b in range(bins)]
    return [
        CalibrationBin(
            float(masked_mean(confidences.double(), own)), float(masked_mean(outcomes.double(), own)), int(own.sum())
        )
        for own in members
        if own.any()
    ]


def expected_calibration_error(
    confidences: Float[Tensor, " N"], outcomes: Shaped[Tensor, " N"], bins: int = 10
) -> float:
    """Mean distance between confidence and accuracy: Σ_b (n_b / N)·|accuracy_b − confidence_b|.

    Shapes as in `calibration_bins`. Guo et al. 2017 (arXiv:1706.04599), equation 3. Nothing predicted is 0.
    """
    occupied = calibration_bins(confidences, outcomes, bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in occupied) / max(1, len(confidences))


def best_temperature(gaps: Float[Tensor, " N"]) -> float | None:
    """The T for which the pair loss of scores that are divided by it, mean −log σ(gap / T), is least.

    Guo et al. 2017 (arXiv:1706.04599): above 1, the model is surer than it is right. gaps (N,) are scores of preferred
    sides less those of the others. Between 0.01, where it ends if all gaps are right, and 100; None where the mean gap
    is not above 0, since there the loss only falls towards an infinite T.
    """
    gaps = gaps.double()
    if float(gaps.mean()) <= 0:
        return None
    low, high = math.log(0.01), math.log(100.0)
    for _ in range(60):  # the loss is convex in 1/T, so its slope changes sign once
        middle = (low + high) / 2
        slope = -float((gaps * torch.sigmoid(-gaps * math.exp(-middle))).mean())
        low, high = (low, middle) if slope < 0 else (middle, high)
    return math.exp((low + high) / 2)


def explained_variance(predictions: Values, targets: Values, mask: MaskOfValues) -> Scalar:
    """Share of the targets' variance that a critic accounts for: 1 − Var(targets − predictions) / Var(targets).

    predictions, targets, mask: any one shape. Returns a detached scalar: 1 is perfect, 0 no better than a constant,
    below 0 worse. Targets that vary by no more than rounding leave nothing to explain: 0.
    """
    with torch.no_grad():
        total, unexplained = _variance(targets, mask), _variance(targets - predictions, mask)
        rounding = (10 * torch.finfo(targets.dtype).eps) ** 2 * masked_mean(targets.square(), mask)
        return torch.where(total > rounding, 1 - unexplained / total, 0.0)


def distinct_n(token_sequences: Iterable[Sequence[Hashable]], n: int) -> float:
    """Diversity of a set of texts: distinct n-grams over all n-grams, none of which spans two texts.

    Li et al. 2016 (arXiv:1510.03055). 1 when nothing repeats; 0 when no text is long enough. Longer samples score
    lower by themselves, so compare like with like. Raises ValueError unless n ≥ 1.
    """
    if n < 1:
        raise ValueError(f"an n-gram has at least one token, not {n}")
    grams = [tuple(s[i : i + n]) for s in token_sequences for i in range(len(s) - n + 1)]
    return len(set(grams)) / max(1, len(grams))


def _variance(x: Tensor, mask: Tensor) -> Tensor:
    """Population variance over counted entries."""
    return masked_mean((x - masked_mean(x, mask)).square(), mask)


def _quantile(confidence: float) -> float:
    """The z such that a standard normal lies within ±z with this probability."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _student_quantile(confidence: float, freedom: int) -> float:
    """The t such that Student's distribution lies within ±t with this probability."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # of θ = arctan(t / √freedom), in which the share within rises from 0 to 1
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _student_within(theta: float, freedom: int) -> float:
    """P(|T| ≤ √freedom·tan θ): Abramowitz & Stegun 1964, 26.7.3 and 26.7.4."""
    odd = freedom % 2
    term = math.cos(theta) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for power in range(2 + odd, freedom, 2):
        term *= math.cos(theta) ** 2 * (power - 1) / power
        total += term
    within = math.sin(theta) * total
    return 2 / math.pi * (theta + within) if odd else within
