"""What a policy says of both sides of preference pairs, for every loss that compares them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core.batches import PairBatch
from truing.core.results import OfflineResult
from truing.core.rows import PairRows, TokenRows
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, sequence_logprobs
from truing.stages.offline_objective import HeldoutScores, OfflineObjective, OfflineSettings
from truing.stages.offline_policy import offline_roles, train_offline
from truing.training.job import Job


@dataclass(frozen=True)
class SideLogprobs:
    """Of one side of B pairs."""

    total: Tensor
    """(B,) log π of the whole response, nats"""
    mean: Tensor
    """(B,) the same, averaged over the response's tokens"""

    def of(self, average: bool) -> Tensor:
        """The mean if `average`, else the total."""
        return self.mean if average else self.total


@dataclass(frozen=True)
class PairLoss:
    """A loss that compares both sides of a pair by what the policy alone says of them."""

    loss: Callable[[SideLogprobs, SideLogprobs], Tensor]
    """Of the chosen sides and the rejected ones, the mean"""
    reward: Callable[[SideLogprobs], Tensor]
    """(B,) the reward of responses that it stands for"""

    def __call__(self, policy: Role, batch: PairBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, and what the policy's own reward says of it."""
        chosen, rejected = pair_logprobs(policy, batch)
        return self.loss(chosen, rejected), reward_stats(self.reward(chosen), self.reward(rejected), chosen)


def train_without_reference(
    job: Job, settings: OfflineSettings, loss: PairLoss, facts: Mapping[str, Any]
) -> OfflineResult:
    """Trains a policy on the preferences by what it says of them itself; `facts` are more fields of the result."""
    roles, pairs = offline_roles(job), job.preferences()

    def score_heldout() -> HeldoutScores:
        chosen, rejected = now = waiting_logprobs(roles.policy, pairs.heldout, job.recipe)
        return heldout_scores(pairs.heldout, loss.reward(chosen), loss.reward(rejected), now)

    objective = OfflineObjective(
        settings=settings,
        train=pairs.train,
        loss=lambda batch: loss(roles.policy, batch),
        heldout=score_heldout,
        report=pairs.report,
        facts={"train_pairs": len(pairs.train), **facts},
    )
    return train_offline(job, roles, objective)


def pair_logprobs(policy: Role, pairs: PairBatch) -> tuple[SideLogprobs, SideLogprobs]:
    """Of the chosen sides and of the rejected ones."""
    chosen, rejected = (
        _side(sequence_logprobs(policy, side), side.response_mask.sum(1)) for side in (pairs.chosen, pairs.rejected)
    )
    return chosen, rejected


def waiting_logprobs(role: Role, pairs: PairRows, recipe: Recipe) -> tuple[SideLogprobs, SideLogprobs]:
    """The same of any number of pairs, without a gradient."""
    return _waiting(role, pairs.chosen, recipe), _waiting(role, pairs.rejected, recipe)


def response_totals(role: Role, rows: TokenRows, recipe: Recipe) -> Tensor:
    """(B,) log π of whole responses, nats, without a gradient."""
    (totals,) = forward_in_micro_batches(
        role, rows, given(recipe.compute.score_tokens), lambda part, _: (sequence_logprobs(role, part),)
    )
    return totals


def heldout_scores(
    pairs: PairRows, chosen: Tensor, rejected: Tensor, now: tuple[SideLogprobs, SideLogprobs]
) -> HeldoutScores:
    """Held-out pairs by (N,) rewards of their sides, and by their log-probabilities now."""
    return HeldoutScores(chosen, rejected, pairs.chosen.response_lengths, pairs.rejected.response_lengths, now[0].total)


@torch.no_grad()
def reward_stats(chosen: Tensor, rejected: Tensor, now: SideLogprobs) -> dict[str, Tensor]:
    """What the policy's own reward, (B,) of each side, says of a batch; `now` is of the chosen sides."""
    return {
        "accuracy": (chosen > rejected).float().mean(),
        "margin": (chosen - rejected).mean(),
        "chosen_reward": chosen.mean(),
        "rejected_reward": rejected.mean(),
        "chosen_logprob": now.total.mean(),
    }


def _waiting(role: Role, rows: TokenRows, recipe: Recipe) -> SideLogprobs:
    totals = response_totals(role, rows, recipe)
    return _side(totals, torch.tensor(rows.response_lengths, device=totals.device))


def _side(totals: Tensor, lengths: Tensor) -> SideLogprobs:
    return SideLogprobs(totals, totals / lengths)
