"""Odds ratio preference optimisation: SFT and preference in one loss, without a reference. See docs/algorithms/orpo.md.

With a weight of 0 it is supervised fine-tuning on the chosen side, measured as every other policy is.
"""

from truing.config.algorithms import Orpo
from truing.core.results import OfflineResult
from truing.functional import log_odds, orpo_loss
from truing.stages.pairs import PairLoss, train_without_reference
from truing.training.job import Job


def odds_loss(settings: Orpo) -> PairLoss:
    """To say the chosen side, and with higher odds than the rejected; the reward is the log-odds of a response."""
    return PairLoss(
        loss=lambda chosen, rejected: orpo_loss(chosen.mean, rejected.mean, settings.weight),
        reward=lambda side: log_odds(side.mean),
    )


def train_orpo(job: Job) -> OfflineResult:
    """Trains on the preferences."""
    settings = job.recipe.orpo
    return train_without_reference(job, settings, odds_loss(settings), {})
