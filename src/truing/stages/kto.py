"""Kahneman-Tversky optimisation: from ratings of single responses to a policy. See docs/algorithms/kto.md."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from truing.config.algorithms import Kto
from truing.config.recipe import Recipe
from truing.core.batches import Sequences
from truing.core.results import OfflineResult
from truing.core.rows import RatedRows, RowsWith, TokenRows
from truing.core.transfer import integers, to_device
from truing.functional import kto_loss, kto_reference_point
from truing.models.roles import Role
from truing.models.scoring import sequence_logprobs
from truing.stages.offline_objective import HeldoutScores, OfflineObjective
from truing.stages.offline_policy import offline_roles, train_offline
from truing.stages.pairs import response_totals
from truing.training.job import Job


@dataclass(frozen=True)
class RatedBatch:
    """Rated responses on a device, and what the loss has to know of them besides."""

    responses: Sequences
    desired: Tensor
    """(B,) True where a response is wanted"""
    ref_logprobs: Tensor
    """(B,) log π_ref of the response, nats"""
    reference_point: Tensor
    """() of the whole batch that this is a part of, nats"""


@dataclass(frozen=True)
class ReferencedRatings(RowsWith[RatedRows]):
    """Ratings that wait, and responses to other prompts in their place, with the reference's log-probabilities."""

    ref_logprobs: Tensor
    mismatched: TokenRows
    ref_mismatched: Tensor
    reference_point: Tensor

    def rows(self, index: Sequence[int]) -> Self:
        place = integers(index, self.ref_logprobs.device)
        return type(self)(
            self.own.rows(index),
            self.ref_logprobs[place],
            self.mismatched.rows(index),
            self.ref_mismatched[place],
            self.reference_point,
        )

    def to(self, device: torch.device) -> RatedBatch:
        desired = to_device(torch.tensor(self.own.desired), device)
        rest = self.ref_logprobs.to(device), self.reference_point.to(device)
        return RatedBatch(self.own.responses.to(device), desired, *rest)


def rating_loss(policy: Role, batch: RatedBatch, settings: Kto) -> tuple[Tensor, dict[str, Tensor]]:
    """The KTO loss of a batch, and on which side of the reference point its rewards β·log(π/π_ref) are."""
    logprobs = sequence_logprobs(policy, batch.responses)
    loss = kto_loss(
        logprobs,
        batch.ref_logprobs,
        batch.desired,
        batch.reference_point,
        settings.beta,
        settings.desirable_weight,
        settings.undesirable_weight,
    )
    with torch.no_grad():
        gain = settings.beta * (logprobs - batch.ref_logprobs - batch.reference_point)
        margin = torch.where(batch.desired, gain, -gain)
        stats = {
            "accuracy": (margin > 0).float().mean(),
            "margin": margin.mean(),
            "reference_point": batch.reference_point,
        }
    return loss, stats


def train_kto(job: Job) -> OfflineResult:
    """Trains on the ratings, against the reference's log-probabilities, which are asked for once."""
    recipe, settings = job.recipe, job.recipe.kto
    roles = offline_roles(job)
    assert roles.reference is not None
    ratings = job.ratings()
    train = with_reference(roles.reference, ratings.train, recipe)
    ref_heldout = response_totals(roles.reference, ratings.heldout.responses, recipe)
    objective = OfflineObjective(
        settings=settings,
        train=train,
        loss=lambda batch: rating_loss(roles.policy, batch, settings),
        heldout=lambda: score_heldout(roles.policy, ratings.heldout, ref_heldout, recipe),
        report=ratings.report,
        ready=lambda batch: with_reference_point(roles.policy, batch, recipe),
        held_by="beta",
        facts={"train_rows": len(train), "beta": settings.beta},
    )
    return train_offline(job, roles, objective)


def with_reference(reference: Role, ratings: RatedRows, recipe: Recipe) -> ReferencedRatings:
    """The ratings with the reference's log-probabilities: one pass, before anything is learnt."""
    others = ratings.mismatched()
    ref_logprobs, ref_mismatched = (response_totals(reference, rows, recipe) for rows in (ratings.responses, others))
    return ReferencedRatings(ratings, ref_logprobs, others, ref_mismatched, ref_logprobs.new_zeros(()))


def with_reference_point(policy: Role, batch: ReferencedRatings, recipe: Recipe) -> ReferencedRatings:
    """A step's batch with its reference point, by the policy as it is: one for all parts that it is learnt in."""
    now = response_totals(policy, batch.mismatched, recipe)
    return replace(batch, reference_point=kto_reference_point(now, batch.ref_mismatched.to(now.device)))


def score_heldout(policy: Role, heldout: RatedRows, ref_logprobs: Tensor, recipe: Recipe) -> HeldoutScores:
    """Held-out wanted responses beside unwanted ones, each once and in their order, by the policy's implicit reward."""
    now = response_totals(policy, heldout.responses, recipe)
    rewards, lengths = recipe.kto.beta * (now - ref_logprobs.to(now.device)), heldout.responses.response_lengths
    wanted, unwanted = ([row for row, label in enumerate(heldout.desired) if label is kind] for kind in (True, False))
    pairs = min(len(wanted), len(unwanted))
    return HeldoutScores(
        rewards[wanted[:pairs]],
        rewards[unwanted[:pairs]],
        [lengths[row] for row in wanted[:pairs]],
        [lengths[row] for row in unwanted[:pairs]],
        now[wanted],
    )
