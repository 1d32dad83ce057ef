"""Which of several policies people prefer, from few and noisy judgements of pairs of their answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from truing.functional.shapes import Number

NEWTON_STEPS = 25
"""More than a concave posterior over some log-odds ever takes"""
HIGHEST_BET = 0.75
"""Share of what evidence there is that one judgement may cost"""


@dataclass(frozen=True)
class Compared:
    """Answers of one policy held against those of another."""

    one: int
    """Number of the policy"""
    other: int
    wins: Number
    """Of `one`; alike counts half"""
    count: int
    """Judgements"""


def smoothed_strengths(steps: Sequence[tuple[int, float]], compared: Iterable[Compared]) -> tuple[Tensor, Tensor]:
    """How strong each policy of a run is, (n,) means and (n, n) covariance, in log-odds of winning against the first.

    The strengths are a random walk: each policy's is that of the one it was trained on from, plus a normal step.

        P(one wins against other) = σ(s_one − s_other)      s_i − s_parent(i) ~ N(0, deviation_i²),  s_0 = 0

    A Bradley-Terry model with a prior, by Laplace's approximation at its mode (Newton's method; the posterior is
    concave). Judges who err at random pull all strengths towards each other and keep their order.

    Args:
        steps: for each policy but the first the number of its parent, which is smaller than its own, and the deviation.
        compared: judgements between policies, by their number; 0 is the first.
    """
    n = len(steps) + 1
    precision = torch.zeros(n, n, dtype=torch.float64)
    for number, (parent, deviation) in enumerate(steps, start=1):
        _add_difference(precision, number, parent, deviation**-2)
    pairs = list(compared)
    mode = torch.zeros(n, dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        slope, curvature = -precision @ mode, precision.clone()
        for pair in pairs:
            chance = torch.sigmoid(mode[pair.one] - mode[pair.other])
            surplus = pair.wins - pair.count * chance
            slope[pair.one] += surplus
            slope[pair.other] -= surplus
            _add_difference(curvature, pair.one, pair.other, float(pair.count * chance * (1 - chance)))
        mode[1:] += torch.linalg.solve(curvature[1:, 1:], slope[1:])  # the first is where strengths are counted from
    covariance = torch.zeros_like(precision)
    covariance[1:, 1:] = torch.linalg.inv(curvature[1:, 1:])
    return mode, covariance


def chance_of_weaker(strengths: Tensor, covariance: Tensor, one: int, other: int) -> float:
    """That policy `one` is weaker than `other`, from what `smoothed_strengths` returned."""
    gap = float(strengths[other] - strengths[one])
    variance = float(covariance[one, one] + covariance[other, other] - 2 * covariance[one, other])
    return NormalDist(0.0, variance**0.5).cdf(gap)


def pooled_log_odds(wins: Float[Tensor, " N"], counts: Float[Tensor, " N"], deviation: float) -> Float[Tensor, " N"]:
    """Log-odds (N,) with which people prefer the first answer of each of N pairs, from their votes on it.

        P(first wins) = σ(θ_i)      θ_i ~ N(0, deviation²)

    Bradley-Terry for pairs that share no answer, at the mode. wins, counts (N,): votes for the first, alike as half a
    vote, and all votes. Without votes, θ is 0.
    """
    odds = torch.zeros_like(wins)
    for _ in range(NEWTON_STEPS):
        chance = torch.sigmoid(odds)
        slope = wins - counts * chance - odds / deviation**2
        odds = odds + slope / (counts * chance * (1 - chance) + deviation**-2)
    return odds


def followed(log_odds: Float[Tensor, " N"], outcomes: Float[Tensor, " N"], deviation: float) -> tuple[float, float]:
    """How far one person's votes follow the log-odds of all others, and the standard error of that.

        P(first wins) = σ(γ·θ_i)      γ ~ N(1, deviation²)

    γ is 1 for one who judges as the others do, 0 for one whose votes have nothing to do with theirs, and below 0 for
    one who says the contrary: the reliability of an annotator in Chen et al. 2013 ("Pairwise ranking aggregation in a
    crowdsourced setting", WSDM). Laplace's approximation at the mode; the prior presumes that they judge as others do.

    Args:
        log_odds: (N,) of others, as `pooled_log_odds` has them; the person's own votes are not in it.
        outcomes: (N,) 1 where the person prefers the first answer, 0 where the second, ½ for alike.
        deviation: of the prior.
    """
    follows, curvature = 1.0, deviation**-2
    for _ in range(NEWTON_STEPS):
        chance = torch.sigmoid(follows * log_odds)
        slope = float(((outcomes - chance) * log_odds).sum()) - (follows - 1) / deviation**2
        curvature = float((chance * (1 - chance) * log_odds.square()).sum()) + deviation**-2
        follows += min(max(slope / curvature, -1.0), 1.0)  # where chances are near 0 or 1, a whole step may go too far
    return follows, curvature**-0.5


def _add_difference(matrix: Tensor, one: int, other: int, weight: float) -> None:
    """Adds weight·(s_one − s_other)² to the quadratic form s'·matrix·s, in place."""
    matrix[one, one] += weight
    matrix[other, other] += weight
    matrix[one, other] -= weight
    matrix[other, one] -= weight


def evidence_of_loss(contests: Iterable[Sequence[float]]) -> float:
    """How strongly judgements speak against 'the newer policy has never been the worse one': an e-value.

    If in truth no judgement favoured the older policy by more than chance, this ever reaches 1/α with probability at
    most α, whenever one looks and stops (Ville's inequality: Waudby-Smith & Ramdas 2024, arXiv:2010.09686). It is the
    wealth of a gambler who bets on losses, each time as much as the judgements of the contest so far suggest and
    nothing while they favour the newer policy:

        E ← E·(1 + λ·(1 − 2x))      λ = 1 − 2·(wins + ½)/(count + 1), at least 0 and at most HIGHEST_BET

    Args:
        contests: one sequence for each older policy that was held against, in order: 1 where the newer won, 0 where it
            lost, ½ for alike.
    """
    wealth = 1.0
    for outcomes in contests:
        wins = 0.0
        for count, outcome in enumerate(outcomes):
            bet = min(max(1 - 2 * (wins + 0.5) / (count + 1), 0.0), HIGHEST_BET)
            wealth *= 1 + bet * (1 - 2 * outcome)
            wins += outcome
    return wealth
