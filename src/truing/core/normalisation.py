"""A score on the scale of the SFT model's: mean 0, deviation 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from truing.core.errors import RewardError


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of a source's score on samples of the SFT model."""

    mean: float = 0.0
    std: float = 1.0

    def apply(self, scores: Sequence[float]) -> list[float]:
        """Scores in deviations from the SFT model's mean."""
        return [(score - self.mean) / self.std for score in scores]

    @classmethod
    def measure(cls, scores: Sequence[float], where: str) -> "Normalisation":
        """Mean and population deviation of the scores that are numbers.

        RewardError where the source gives every sample the same score, or none.
        """
        values = torch.tensor([score for score in scores if math.isfinite(score)], dtype=torch.float64)
        if not len(values):
            what = f"gives none of {len(scores)} SFT samples a finite score."
            raise RewardError(what, code="rewards/no-scores", where=where)
        mean, std = float(values.mean()), float(values.std(correction=0))
        if std < 1e-8:
            what = f"gives every one of {len(scores)} SFT samples the same score ({mean:.4g}), so it cannot teach."
            hint = "Check the reward model's accuracy, or set normalise: false for a rule that rarely fires."
            raise RewardError(what, code="rewards/constant-scores", where=where, hint=hint)
        return cls(mean, std)


def scales_of(members: Sequence[Sequence[float]]) -> list[Normalisation]:
    """Of each of several reward models, from their scores of the SFT samples. RewardError as `measure`."""
    return [Normalisation.measure(scores, where=f"member {number}") for number, scores in enumerate(members, start=1)]
