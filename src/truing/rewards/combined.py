"""Several sources as one: the members of a reward model, and a weighted sum of sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.rewards.sources import RewardFn, refuse_bad


def mean(scores: Tensor) -> Tensor:
    """(N,) over the members of (N, k)."""
    return scores.mean(-1)


@dataclass(frozen=True)
class MembersReward:
    """Reward models whose scores are put on one scale, since theirs have no zero, and combined."""

    members: Sequence[RewardFn]
    scales: Sequence[Normalisation]
    """Of each member's score"""
    combine: Callable[[Tensor], Tensor] = mean
    """From (N, k) to (N,)"""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        return self.scores_and_spread(samples)[0]

    def scores_and_spread(self, samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
        """The scores, and the standard deviation over the members of each sample's."""
        scores = self.on_scale([member.score(samples) for member in self.members])
        return self.combine(scores).tolist(), scores.std(-1, correction=0).tolist()

    def normalisation(self, of_members: Tensor) -> Normalisation:
        """Of what is combined, from the (N, k) that its members give to samples of the SFT model."""
        combined = self.combine(self.on_scale(of_members.T.tolist()))
        return Normalisation.measure(combined.tolist(), where="the reward stage's members")

    def on_scale(self, of_members: Sequence[Sequence[float]]) -> Tensor:
        """(N, k) float64 from each member's N scores."""
        columns = [scale.apply(scores) for scores, scale in zip(of_members, self.scales, strict=True)]
        return torch.tensor(columns, dtype=torch.float64).T


@dataclass(frozen=True)
class WeightedPart:
    """One source in a sum."""

    name: str
    source: RewardFn
    weight: float
    normalisation: Normalisation
    label: str = ""
    """In the names of metrics"""
    bounded: bool = False
    """Whether the normalised score is squashed to between 0 and 1"""

    def given(self, normalised: Sequence[float]) -> list[float]:
        """To the sum, by the source's normalised scores."""
        scores = torch.tensor(normalised, dtype=torch.float64).sigmoid().tolist() if self.bounded else normalised
        return [self.weight * score for score in scores]


@dataclass(frozen=True)
class Scores:
    """Of N samples."""

    total: list[float]
    parts: dict[str, list[float]]
    """What each of several sources gives to the total, by its label; empty where there is one"""
    spread: list[float] | None = None
    """Standard deviation over the reward stage's members; None where none are asked"""


@dataclass(frozen=True)
class WeightedReward:
    """The sum of normalised, weighted sources."""

    parts: tuple[WeightedPart, ...]
    drops: bool = False
    """Whether a sample without a finite score passes as NaN"""

    @property
    def normalisations(self) -> list[tuple[float, float]]:
        """Mean and deviation of each part, for a checkpoint."""
        return [(part.normalisation.mean, part.normalisation.std) for part in self.parts]

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """The sums.

        Raises:
            RewardError: one is not finite, and it is not to be dropped.
        """
        return self.scores(samples).total

    def scores(self, samples: Sequence[Sample]) -> Scores:
        """The sums, and what they come from. RewardError as above."""
        total, parts = [0.0] * len(samples), dict[str, list[float]]()
        spread: list[float] | None = None
        for part in self.parts:
            if isinstance(part.source, MembersReward):
                scores, spread = part.source.scores_and_spread(samples)
            else:
                scores = part.source.score(samples)
            normalised = part.normalisation.apply(scores)
            if not self.drops:
                refuse_bad(normalised, samples, part.name)
            given = part.given(normalised)
            total = [one + other for one, other in zip(total, given, strict=True)]
            parts[part.label] = given
        return Scores(total, parts if len(self.parts) > 1 else {}, spread)


def scores_of(reward: RewardFn, samples: Sequence[Sample]) -> Scores:
    """What a reward gives, with what it comes from where it is a sum."""
    return reward.scores(samples) if isinstance(reward, WeightedReward) else Scores(reward.score(samples), {})
