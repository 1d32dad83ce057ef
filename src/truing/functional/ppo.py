"""The two losses of proximal policy optimisation."""

import torch
from torch import Tensor

from truing.functional.masked import masked_mean
from truing.functional.policy_gradient import clipped_policy_loss
from truing.functional.shapes import Mask, Number, PerToken, Scalar


def ppo_policy_loss(
    logprobs: PerToken,
    old_logprobs: PerToken,
    advantages: PerToken,
    mask: Mask,
    clip_range: Number = 0.2,
    weights: PerToken | None = None,
) -> tuple[Scalar, dict[str, Tensor]]:
    """The clipped surrogate objective, negated, of single tokens and over all of them.

        ratio = π(y_t) / π_old(y_t)      L = −mean w·min(ratio·A, clip(ratio, 1 − c, 1 + c)·A)

    Schulman et al. 2017 (arXiv:1707.06347), equation 7. See `clipped_policy_loss`, whose first member this is.

    logprobs, old_logprobs, advantages, mask, weights (B, R). Returns the loss and, detached, over counted tokens,
    `clip_fraction`, `approx_kl` and `ratio_max_deviation`.
    """
    return clipped_policy_loss(logprobs, old_logprobs, advantages, mask, (clip_range, clip_range), weights)


def ppo_value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, mask: Mask, clip_range: Number = 0.2
) -> tuple[Scalar, dict[str, Tensor]]:
    """Squared error of the critic, which may gain no more than a step of `clip_range` from where it was.

        V_clip = V_old + clip(V − V_old, −c, c)      L = ½·mean max((V − return)², (V_clip − return)²)

    Ziegler et al. 2019 (arXiv:1909.08593), reference code; Huang et al. 2022, "The 37 implementation details of PPO",
    detail 9.

    values, old_values, returns, mask (B, R). Returns the loss and, detached, `value_clip_fraction`: the share of
    counted tokens whose clipped term is the one that counts.
    """
    counted = mask.bool()
    values, old_values, returns = (torch.where(counted, x, 0.0) for x in (values, old_values, returns))
    moved = values - old_values
    within = old_values + moved.clamp(-clip_range, clip_range)
    unclipped, clipped = (values - returns).square(), (within - returns).square()
    loss = masked_mean(torch.maximum(unclipped, clipped), counted) / 2
    with torch.no_grad():
        counts = (clipped > unclipped) & (moved.abs() > clip_range)  # the sum of a small move is rounded, either way
        stats = {"value_clip_fraction": masked_mean(counts.to(loss.dtype), counted)}
    return loss, stats
