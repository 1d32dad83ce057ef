"""The two losses of proximal policy optimisation."""

import torch
from torch import Tensor

from truing.functional.masked import masked_mean
from truing.functional.shapes import Mask, Number, PerToken, Scalar


def ppo_policy_loss(
    logprobs: PerToken,
    old_logprobs: PerToken,
    advantages: PerToken,
    mask: Mask,
    clip_range: Number = 0.2,
    weights: PerToken | None = None,
) -> tuple[Scalar, dict[str, Tensor]]:
    """The clipped surrogate objective, negated.

        ratio = π(y_t) / π_old(y_t)      L = −mean w·min(ratio·A, clip(ratio, 1 − c, 1 + c)·A)

    π_old is the policy that sampled the tokens, never the reference. Schulman et al. 2017 (arXiv:1707.06347),
    equation 7. The weights w are 1 unless another computation of π_old drew the tokens: those of
    `truncated_importance_weights`, not below 0.

    logprobs, old_logprobs, advantages, mask, weights (B, R). Returns the loss and, detached, over counted tokens:
    `clip_fraction`, the share whose clipped term is the one that counts (they have no gradient); `approx_kl`,
    ½·mean (log ratio)², of new against old policy in nats; `ratio_max_deviation`, max |ratio − 1|.
    """
    counted = mask.bool()
    log_ratio = torch.where(counted, logprobs - old_logprobs, 0.0)  # before exp: padding may hold anything
    gain = torch.where(counted, advantages if weights is None else weights * advantages, 0.0)
    ratio = log_ratio.exp()
    unclipped = -gain * ratio
    clipped = -gain * ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = masked_mean(torch.maximum(unclipped, clipped), counted)
    with torch.no_grad():
        stats = {
            "clip_fraction": masked_mean((clipped > unclipped).to(loss.dtype), counted),
            "approx_kl": masked_mean(log_ratio.square(), counted) / 2,
            "ratio_max_deviation": (ratio - 1).abs().max(),
        }
    return loss, stats


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
    within = old_values + (values - old_values).clamp(-clip_range, clip_range)
    unclipped, clipped = (values - returns).square(), (within - returns).square()
    loss = masked_mean(torch.maximum(unclipped, clipped), counted) / 2
    with torch.no_grad():
        stats = {"value_clip_fraction": masked_mean((clipped > unclipped).to(loss.dtype), counted)}
    return loss, stats
