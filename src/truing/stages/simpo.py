"""Simple preference optimisation: from preferences to a policy, without a reference. See docs/algorithms/simpo.md."""

from truing.config.algorithms import Simpo
from truing.core.results import OfflineResult
from truing.functional import simpo_loss
from truing.stages.pairs import PairLoss, train_without_reference
from truing.training.job import Job


def margin_loss(settings: Simpo) -> PairLoss:
    """The chosen side is to win by a margin; the reward is β times the mean log-probability of a response's tokens."""
    return PairLoss(
        loss=lambda chosen, rejected: simpo_loss(chosen.mean, rejected.mean, settings.beta, settings.gamma),
        reward=lambda side: settings.beta * side.mean,
    )


def train_simpo(job: Job) -> OfflineResult:
    """Trains on the preferences."""
    settings = job.recipe.simpo
    return train_without_reference(job, settings, margin_loss(settings), {"beta": settings.beta})
