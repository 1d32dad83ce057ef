"""Group relative policy optimisation: other responses to a prompt in place of a critic. See docs/algorithms/grpo.md.

    A_i = (R_i − mean R) / std R over the responses to one prompt,  R = score − β·log(π/π_ref) of the response
    L = −mean over responses of the mean over tokens of min(ρ_t·A, clip(ρ_t)·A)

Shao et al. 2024 (arXiv:2402.03300), which has the penalty as β·k3 in the loss instead (`penalty: k3_in_loss`). Its kin
choose another function in one of the places below: Dr. GRPO (arXiv:2503.20783), DAPO (arXiv:2503.14476), GSPO
(arXiv:2507.18071).
"""

from functools import partial

import torch
from torch import Tensor

from truing.config.algorithms import Grpo
from truing.config.recipe import Recipe
from truing.core.experience import Experience
from truing.core.results import OnlineResult
from truing.functional import (
    clipped_policy_loss,
    constant_mean,
    group_centred,
    group_normalised,
    has_contrast,
    kl_estimate,
    masked_mean,
    mean_ratio,
    response_mean,
    token_ratio,
)
from truing.functional.policy_gradient import Average
from truing.models.layout import Roles, policy_roles
from truing.stages.objective import Objective, Scored, without_critic
from truing.stages.online import train_online
from truing.training.job import Job

ADVANTAGES = {"normalised": group_normalised, "centred": group_centred}
RATIOS = {"token": token_ratio, "response": mean_ratio}


def train_grpo(job: Job) -> OnlineResult:
    """Trains the policy, saves `model/` and returns the final metrics."""
    roles = policy_roles(job.recipe, job.start, job.reward)
    return train_online(job, roles, grpo_objective(job.recipe, roles))


def grpo_objective(recipe: Recipe, roles: Roles) -> Objective:
    """The algorithm, with the recipe's settings."""
    settings = recipe.grpo
    experience = PENALTIES[settings.penalty]
    loss = LOSSES[settings.penalty]
    return without_critic(recipe, roles, settings, partial(experience, settings=settings), partial(loss, recipe=recipe))


def penalty_in_reward(scored: Scored, beta: float, settings: Grpo) -> Experience:
    """Advantages of the scores less β·k1, whose gradient is that of the KL."""
    return make_experience(scored, scored.rewards - beta * scored.kl, settings)


def penalty_in_loss(scored: Scored, beta: float, settings: Grpo) -> Experience:
    """Advantages of the scores alone; the loss has the penalty."""
    prices = torch.full_like(scored.rewards, beta)
    return make_experience(scored, scored.rewards, settings, ref_logprobs=scored.ref_logprobs, kl_price=prices)


def make_experience(scored: Scored, rewards: Tensor, settings: Grpo, **penalty: Tensor) -> Experience:
    """A response's (B,) reward against its group's, the same for each of its tokens."""
    rollout, mask = scored.rollout, scored.rollout.sequences.response_mask
    advantages = ADVANTAGES[settings.advantage](rewards, rollout.groups)
    return Experience(
        sequences=rollout.sequences,
        old_logprobs=rollout.logprobs,
        advantages=advantages[:, None] * mask,
        groups=rollout.groups,
        by_response=settings.average != "tokens",
        learnt=has_contrast(scored.rewards, rollout.groups) if settings.drop_even_groups else None,
        **penalty,
    )


def policy_loss(logprobs: Tensor, batch: Experience, recipe: Recipe) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate objective, of the ratio and over the average that the settings name."""
    settings = recipe.grpo
    low, high = settings.clip_range, settings.clip_range_high or settings.clip_range
    return clipped_policy_loss(
        logprobs,
        batch.old_logprobs,
        batch.advantages,
        batch.sequences.response_mask,
        (low, high),
        batch.weights,
        RATIOS[settings.ratio],
        average_of(recipe),
    )


def penalised_policy_loss(logprobs: Tensor, batch: Experience, recipe: Recipe) -> tuple[Tensor, dict[str, Tensor]]:
    """The same with the published penalty, β·k3 a token. Its gradient is that of KL(ref‖π), not of KL(π‖ref)."""
    assert batch.ref_logprobs is not None
    assert batch.kl_price is not None
    mask, average = batch.sequences.response_mask, average_of(recipe)
    loss, stats = policy_loss(logprobs, batch, recipe)
    now, ref = (torch.where(mask, x, 0.0) for x in (logprobs, batch.ref_logprobs))  # or k3 of padding may overflow
    k3 = kl_estimate(now, ref, "k3")
    return loss + average(batch.kl_price[:, None] * k3, mask), stats | {"kl_loss": average(k3, mask)}


def average_of(recipe: Recipe) -> Average:
    """Over a batch's tokens, as the recipe has it."""
    constant = partial(constant_mean, length=recipe.rollout.max_new_tokens)
    averages: dict[str, Average] = {"responses": response_mean, "tokens": masked_mean, "constant": constant}
    return averages[recipe.grpo.average]


PENALTIES = {"k1_in_reward": penalty_in_reward, "k3_in_loss": penalty_in_loss}
LOSSES = {"k1_in_reward": policy_loss, "k3_in_loss": penalised_policy_loss}
