"""REINFORCE++: PPO without a critic, its baseline the mean over the whole update. See docs/algorithms/reinforce.md.

    r_t = −β·(log π(y_t) − log π_ref(y_t)) + [t is the last token]·score
    A_t = r_t + r_{t+1} + …, whitened over the update      L = −mean min(ratio·A, clip(ratio)·A)

Hu et al. 2025 (arXiv:2501.03262).
"""

from functools import partial

import torch
from torch import Tensor

from truing.core.experience import Experience
from truing.core.results import OnlineResult
from truing.functional import gae, masked_whiten, ppo_policy_loss, shape_rewards
from truing.stages.objective import Scored
from truing.stages.online import train_without_critic
from truing.training.job import Job


def train_reinforce(job: Job) -> OnlineResult:
    """Trains the policy, saves `model/` and returns the final metrics."""
    settings = job.recipe.reinforce
    loss = partial(policy_loss, clip_range=settings.clip_range)
    return train_without_critic(job, settings, make_experience, loss)


def make_experience(scored: Scored, beta: float) -> Experience:
    """What a response is still paid from each token on, against all tokens of the update."""
    rollout, mask = scored.rollout, scored.rollout.sequences.response_mask
    rewards = shape_rewards(scored.rewards, rollout.logprobs, scored.ref_logprobs, mask, beta)
    still_to_come, _ = gae(rewards, torch.zeros_like(rewards), mask, gamma=1.0, gae_lambda=1.0)
    return Experience(rollout.sequences, rollout.logprobs, masked_whiten(still_to_come, mask), rollout.groups)


def policy_loss(logprobs: Tensor, batch: Experience, clip_range: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate objective of single tokens."""
    mask = batch.sequences.response_mask
    return ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, mask, clip_range, batch.weights)
