"""Tokens that one computation of a policy drew, weighed so that another may learn from them."""

import torch
from torch import Tensor

from truing.functional.masked import masked_mean
from truing.functional.shapes import Mask, Number, PerToken


def truncated_importance_weights(
    logprobs: PerToken, engine_logprobs: PerToken, mask: Mask, ratio_cap: Number = 2.0
) -> tuple[PerToken, dict[str, Tensor]]:
    """By how much each token counts that an engine drew, which computes the policy a little otherwise.

        ratio_t = π_old(y_t) / π_engine(y_t)      w_t = min(ratio_t, C)

    The mean of w·f over π_engine is that of f over π_old, but for what the cap C takes off to bound the variance.
    Ionides 2008, "Truncated importance sampling"; for language models and their engines Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training".

    logprobs (of the learner), engine_logprobs, mask (B, R). Returns w (B, R), 0 off the mask, and over counted tokens,
    all before the cap: `engine_mismatch`, mean |log ratio| in nats; `engine_ratio_mean`, which is 1 but for the noise
    of the draws where the two agree; `engine_ratio_max`; and `engine_ratio_capped`, the share above C.
    """
    counted = mask.bool()
    log_ratio = torch.where(counted, logprobs - engine_logprobs, 0.0)  # before exp: padding may hold anything
    ratio = torch.where(counted, log_ratio.exp(), 0.0)
    stats = {
        "engine_mismatch": masked_mean(log_ratio.abs(), counted),
        "engine_ratio_mean": masked_mean(ratio, counted),
        "engine_ratio_max": ratio.max(),
        "engine_ratio_capped": masked_mean((ratio > ratio_cap).to(ratio.dtype), counted),
    }
    return ratio.clamp(max=ratio_cap), stats
