"""Direct preference optimisation: from preferences to a policy without a reward model. See docs/algorithms/dpo.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from truing.config.algorithms import Dpo
from truing.config.recipe import Recipe
from truing.core.batches import PairBatch
from truing.core.results import OfflineResult
from truing.core.rows import PairRows, RowsWith
from truing.core.transfer import integers
from truing.functional import dpo_loss
from truing.models.roles import Role
from truing.stages.offline_objective import HeldoutScores, OfflineObjective
from truing.stages.offline_policy import offline_roles, train_offline
from truing.stages.pairs import heldout_scores, pair_logprobs, reward_stats, waiting_logprobs
from truing.training.job import Job


@dataclass(frozen=True)
class ReferencedPairs:
    """Pairs on a device, and how likely the reference thinks their responses."""

    pairs: PairBatch
    ref_chosen: Tensor
    """(B,) log π_ref of the chosen response, nats"""
    ref_rejected: Tensor
    """(B,) the same of the rejected one"""


@dataclass(frozen=True)
class ReferencedRows(RowsWith[PairRows]):
    """Pairs that wait, with the reference's log-probabilities: measured once, kept for every epoch."""

    ref_chosen: Tensor
    ref_rejected: Tensor

    def rows(self, index: Sequence[int]) -> Self:
        chosen = integers(index, self.ref_chosen.device)
        return type(self)(self.own.rows(index), self.ref_chosen[chosen], self.ref_rejected[chosen])

    def to(self, device: torch.device) -> ReferencedPairs:
        return ReferencedPairs(self.own.to(device), self.ref_chosen.to(device), self.ref_rejected.to(device))


def preference_loss(policy: Role, batch: ReferencedPairs, settings: Dpo) -> tuple[Tensor, dict[str, Tensor]]:
    """The DPO loss of a batch, and what the policy's implicit reward β·log(π/π_ref) says of it."""
    average = averages_over_tokens(settings)
    of_chosen, of_rejected = pair_logprobs(policy, batch.pairs)
    chosen, rejected = of_chosen.of(average), of_rejected.of(average)
    loss = dpo_loss(
        chosen,
        rejected,
        batch.ref_chosen,
        batch.ref_rejected,
        beta=settings.beta,
        variant=settings.variant,
        label_smoothing=batch.pairs.chance_of_flip(settings.use_share, settings.label_smoothing),
    )
    if settings.sft_weight:
        loss = loss - settings.sft_weight * of_chosen.mean.mean()
    rewards = settings.beta * (chosen - batch.ref_chosen), settings.beta * (rejected - batch.ref_rejected)
    return loss, reward_stats(*rewards, of_chosen)


def averages_over_tokens(settings: Dpo) -> bool:
    """Whether a response's log-probability is taken as the mean over its tokens, not the sum."""
    return settings.length_normalised or settings.variant == "ipo"


def train_dpo(job: Job) -> OfflineResult:
    """Trains on the preferences, against the reference's log-probabilities, which are asked for once."""
    recipe, settings = job.recipe, job.recipe.dpo
    roles = offline_roles(job)
    assert roles.reference is not None
    pairs = job.preferences()
    train = with_reference(roles.reference, pairs.train, recipe)
    heldout = with_reference(roles.reference, pairs.heldout, recipe)
    objective = OfflineObjective(
        settings=settings,
        train=train,
        loss=lambda batch: preference_loss(roles.policy, batch, settings),
        heldout=lambda: score_heldout(roles.policy, heldout, recipe),
        report=pairs.report,
        held_by="beta",
        facts={"train_pairs": len(train), "beta": settings.beta, "variant": settings.variant},
    )
    return train_offline(job, roles, objective)


def with_reference(reference: Role, pairs: PairRows, recipe: Recipe) -> ReferencedRows:
    """The pairs with the reference's log-probabilities: one pass, before anything is learnt."""
    average = averages_over_tokens(recipe.dpo)
    chosen, rejected = waiting_logprobs(reference, pairs, recipe)
    return ReferencedRows(pairs, chosen.of(average), rejected.of(average))


def score_heldout(policy: Role, heldout: ReferencedRows, recipe: Recipe) -> HeldoutScores:
    """Pairs that are not learnt from, by the policy's implicit reward."""
    average, beta = averages_over_tokens(recipe.dpo), recipe.dpo.beta
    chosen, rejected = now = waiting_logprobs(policy, heldout.own, recipe)
    rewards = (
        beta * (chosen.of(average) - heldout.ref_chosen),
        beta * (rejected.of(average) - heldout.ref_rejected),
    )
    return heldout_scores(heldout.own, *rewards, now)
