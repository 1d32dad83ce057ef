"""What a round gained, and when another is not worth its labels.

A round's policy is compared, prompt by prompt, with the best before it on held-out prompts. It is the best from there
on where the 95% interval of the mean difference lies above 0; else the round gained nothing. After `patience` rounds in
a row that gained nothing, no further one is begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from truing.core.results import Interval
from truing.functional import mean_interval


@dataclass(frozen=True)
class Gain:
    """The mean difference between a round's policy and the best before it."""

    against: int
    """The round of that, or 0 for the start"""
    mean: float
    ci95: Interval
    prompts: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval lies above 0."""
        return self.ci95[0] > 0


def gain_of(differences: Sequence[float], against: int) -> Gain:
    """Of one difference a held-out prompt. Where there are none, or one alone, nothing is clear."""
    if len(differences) < 2:
        ends = [0.0, *differences]
        return Gain(against, sum(differences), (min(ends), max(ends)), len(differences))
    mean, low, high = mean_interval(differences)
    return Gain(against, mean, (low, high), len(differences))


def best_of(gains: Sequence[Gain]) -> int:
    """The last round that gained something, or 0 for the start."""
    return next((number for number in range(len(gains), 0, -1) if gains[number - 1].is_clear), 0)


def gains_nothing(gains: Sequence[Gain], patience: int) -> bool:
    """Whether so many rounds in a row, the last among them, gained nothing."""
    return len(gains) >= patience and not any(gain.is_clear for gain in gains[-patience:])
