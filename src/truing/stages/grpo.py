"""Group relative policy optimisation: other responses to a prompt in place of a critic. See docs/algorithms/grpo.md.

    A_i = (R_i − mean R) / std R over the responses to one prompt,  R = score − β·log(π/π_ref) of the response
    L = −mean over responses of the mean over tokens of min(ρ_t·A, clip(ρ_t)·A)

Shao et al. 2024 (arXiv:2402.03300), which has the penalty as β·k3 in the loss instead (`penalty: k3_in_loss`). Its kin
choose another function in one of the places below: Dr. GRPO (arXiv:2503.20783), DAPO (arXiv:2503.14476), GSPO
(arXiv:2507.18071).
"""

from collections.abc import Callable
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
    settings, penalty = recipe.grpo, recipe.grpo.penalty
    experience, loss = partial(PENALTIES[penalty], settings=settings), partial(LOSSES[penalty], recipe=recipe)
    return without_critic(recipe, roles, settings, experience, loss)


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


def penalised_policy_loss(
    logprobs: Tensor, batch: Experience, recipe: Recipe, penalty: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same with β·`penalty` a token, of log π, log π_old and log π_ref."""
    assert batch.ref_logprobs is not None
    assert batch.kl_price is not None
    mask, average = batch.sequences.response_mask, average_of(recipe)
    loss, stats = policy_loss(logprobs, batch, recipe)
    counted = (torch.where(mask, x, 0.0) for x in (logprobs, batch.old_logprobs, batch.ref_logprobs))
    estimate = penalty(*counted)  # of padding it might overflow
    return loss + average(batch.kl_price[:, None] * estimate, mask), stats | {"kl_loss": average(estimate, mask)}


def k3(logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(B, R) as published. Over the policy's own tokens its gradient is that of KL(ref‖π), not of KL(π‖ref)."""
    return kl_estimate(logprobs, ref_logprobs, "k3")


def corrected_k3(logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(B, R) times the ratio of its token, so that its gradient is that of a token's KL(π‖ref).

    What a token does to the KL of those behind it is not in it. DeepSeek-AI 2025 (arXiv:2512.02556).
    """
    return (logprobs - old_logprobs).exp() * k3(logprobs, old_logprobs, ref_logprobs)


def average_of(recipe: Recipe) -> Average:
    """Over a batch's tokens, as the recipe has it."""
    constant = partial(constant_mean, length=recipe.most_drawn)
    averages: dict[str, Average] = {"responses": response_mean, "tokens": masked_mean, "constant": constant}
    return averages[recipe.grpo.average]


PENALTIES = {
    "k1_in_reward": penalty_in_reward,
    "k3_in_loss": penalty_in_loss,
    "corrected_k3_in_loss": penalty_in_loss,
}
LOSSES: dict[str, Callable[..., tuple[Tensor, dict[str, Tensor]]]] = {
    "k1_in_reward": policy_loss,
    "k3_in_loss": partial(penalised_policy_loss, penalty=k3),
    "corrected_k3_in_loss": partial(penalised_policy_loss, penalty=corrected_k3),
}
