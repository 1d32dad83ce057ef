"""REINFORCE leave-one-out: its baseline is the other responses to a prompt. See docs/algorithms/rloo.md.

    R_i = score_i − β·log(π/π_ref) of the response      A_i = R_i − mean of R_j over the others to the prompt
    L = −mean over responses of min(ρ_i·A_i, clip(ρ_i)·A_i)      ρ_i = π(y_i) / π_old(y_i)

On the first pass over an update that is REINFORCE, A·∇log π(y); later passes clip the ratio of the whole response.
Ahmadian et al. 2024 (arXiv:2402.14740).
"""

from functools import partial

from torch import Tensor

from truing.config.algorithms import Rloo
from truing.config.recipe import Recipe
from truing.core.experience import Experience
from truing.core.results import OnlineResult
from truing.functional import clipped_policy_loss, leave_one_out, response_mean, whole_ratio
from truing.models.layout import Roles, policy_roles
from truing.stages.objective import Objective, Scored, without_critic
from truing.stages.online import train_online
from truing.training.job import Job


def train_rloo(job: Job) -> OnlineResult:
    """Trains the policy, saves `model/` and returns the final metrics."""
    roles = policy_roles(job.recipe, job.start, job.reward)
    return train_online(job, roles, rloo_objective(job.recipe, roles))


def rloo_objective(recipe: Recipe, roles: Roles) -> Objective:
    """The algorithm, with the recipe's settings."""
    settings = recipe.rloo
    return without_critic(recipe, roles, settings, make_experience, partial(policy_loss, settings=settings))


def make_experience(scored: Scored, beta: float) -> Experience:
    """A response's reward against that of the others to its prompt, the same for each of its tokens."""
    rollout, mask = scored.rollout, scored.rollout.sequences.response_mask
    advantages = leave_one_out(scored.rewards - beta * scored.kl, rollout.groups)
    return Experience(rollout.sequences, rollout.logprobs, advantages[:, None] * mask, rollout.groups, by_response=True)


def policy_loss(logprobs: Tensor, batch: Experience, settings: Rloo) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate objective of whole responses."""
    mask, clip = batch.sequences.response_mask, (settings.clip_range, settings.clip_range)
    return clipped_policy_loss(
        logprobs, batch.old_logprobs, batch.advantages, mask, clip, batch.weights, whole_ratio, response_mean
    )
