"""REINFORCE++: PPO without a critic, its baseline the mean over the whole update. See docs/algorithms/reinforce.md.

    r_t = −β·(log π(y_t) − log π_ref(y_t)) + [t is the last token]·score
    A_t = r_t + r_{t+1} + …, whitened over the update      L = −mean min(ratio·A, clip(ratio)·A)

Hu et al. 2025 (arXiv:2501.03262).
"""

from functools import partial

import torch
from torch import Tensor

from truing.config.algorithms import Reinforce
from truing.config.recipe import Recipe
from truing.core.experience import Experience
from truing.core.results import OnlineResult
from truing.functional import gae, masked_whiten, ppo_policy_loss, shape_rewards
from truing.models.layout import Roles, policy_roles
from truing.stages.objective import Objective, Scored, without_critic
from truing.stages.online import train_online
from truing.training.job import Job


def train_reinforce(job: Job) -> OnlineResult:
    """Trains the policy, saves `model/` and returns the final metrics."""
    roles = policy_roles(job.recipe, job.start, job.reward)
    return train_online(job, roles, reinforce_objective(job.recipe, roles))


def reinforce_objective(recipe: Recipe, roles: Roles) -> Objective:
    """The algorithm, with the recipe's settings."""
    settings = recipe.reinforce
    return without_critic(recipe, roles, settings, make_experience, partial(policy_loss, settings=settings))


def make_experience(scored: Scored, beta: float) -> Experience:
    """What a response is still paid from each token on, against all tokens of the update."""
    rollout, mask = scored.rollout, scored.rollout.sequences.response_mask
    rewards = shape_rewards(scored.rewards, rollout.logprobs, scored.ref_logprobs, mask, beta)
    still_to_come, _ = gae(rewards, torch.zeros_like(rewards), mask, gamma=1.0, gae_lambda=1.0)
    return Experience(rollout.sequences, rollout.logprobs, masked_whiten(still_to_come, mask), rollout.groups)


def policy_loss(logprobs: Tensor, batch: Experience, settings: Reinforce) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate objective of single tokens."""
    mask = batch.sequences.response_mask
    return ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, mask, settings.clip_range, batch.weights)
