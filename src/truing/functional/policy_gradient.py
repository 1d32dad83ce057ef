"""The clipped surrogate objective and what its variants differ in: whose ratio is clipped, and what is averaged."""

from collections.abc import Callable

import torch
from torch import Tensor

from truing.functional.masked import masked_mean
from truing.functional.shapes import Mask, Number, PerToken, Scalar

Ratio = Callable[[PerToken, Mask], PerToken]
"""From log π − log π_old of each token to the logarithm of the ratio that its term has"""
Average = Callable[[PerToken, Mask], Scalar]
"""Of a batch's tokens"""


def token_ratio(log_ratio: PerToken, mask: Mask) -> PerToken:
    """A token's own: ρ_t = π(y_t) / π_old(y_t). Schulman et al. 2017 (arXiv:1707.06347).

    log_ratio, mask (B, R). Returns (B, R).
    """
    return log_ratio


def mean_ratio(log_ratio: PerToken, mask: Mask) -> PerToken:
    """The geometric mean over the response: s = (π(y) / π_old(y))^(1/|y|). Zheng et al. 2025 (arXiv:2507.18071), GSPO.

    log_ratio, mask (B, R). Returns (B, R), one value a row.
    """
    return masked_mean(log_ratio, mask, dim=-1)[..., None].expand_as(log_ratio)


def whole_ratio(log_ratio: PerToken, mask: Mask) -> PerToken:
    """That of the whole response: ρ = π(y) / π_old(y). Ahmadian et al. 2024 (arXiv:2402.14740): one action a response.

    log_ratio, mask (B, R). Returns (B, R), one value a row.
    """
    return torch.where(mask.bool(), log_ratio, 0.0).sum(-1, keepdim=True).expand_as(log_ratio)


def response_mean(x: PerToken, mask: Mask) -> Scalar:
    """The mean over responses of the mean over a response's tokens. Shao et al. 2024 (arXiv:2402.03300), GRPO.

    x, mask (B, R). A token of a short response counts more than one of a long response.
    """
    return masked_mean(x, mask, dim=-1).mean()


def constant_mean(x: PerToken, mask: Mask, length: int) -> Scalar:
    """The mean over responses of a response's sum, over a length that is the same for all.

    Liu et al. 2025 (arXiv:2503.20783), Dr. GRPO: what a token counts does not change with the length of its response.

    x, mask (B, R); length: that of the longest response there may be.
    """
    return torch.where(mask.bool(), x, 0.0).sum(-1).mean() / length


def clipped_policy_loss(
    logprobs: PerToken,
    old_logprobs: PerToken,
    advantages: PerToken,
    mask: Mask,
    clip_range: tuple[Number, Number] = (0.2, 0.2),
    weights: PerToken | None = None,
    ratio: Ratio = token_ratio,
    average: Average = masked_mean,
) -> tuple[Scalar, dict[str, Tensor]]:
    """The clipped surrogate objective, negated, of the `ratio` and over the `average` that an algorithm has.

        ρ = exp(ratio of log π(y_t) − log π_old(y_t))      L = −average w·min(ρ·A, clip(ρ, 1 − low, 1 + high)·A)

    π_old is the policy that sampled the tokens, never the reference. Schulman et al. 2017 (arXiv:1707.06347),
    equation 7; a `high` above `low` is Yu et al. 2025 (arXiv:2503.14476), DAPO. The weights w are 1 unless another
    computation of π_old drew the tokens: those of `truncated_importance_weights`, not below 0.

    logprobs, old_logprobs, advantages, mask, weights (B, R); clip_range (low, high). Returns the loss and, detached:
    `clip_fraction`, the share of tokens whose clipped term is the one that counts (they have no gradient);
    `approx_kl`, ½·mean (log ratio)² of a token, new against old policy, in nats; `ratio_max_deviation`, max |ratio − 1|
    of a token. The first two are means over all tokens where the loss is, else over responses.
    """
    counted = mask.bool()
    log_ratio = torch.where(counted, logprobs - old_logprobs, 0.0)  # before exp: padding may hold anything
    gain = torch.where(counted, advantages if weights is None else weights * advantages, 0.0)
    rho = ratio(log_ratio, counted).exp()
    low, high = clip_range
    unclipped = -gain * rho
    clipped = -gain * rho.clamp(1 - low, 1 + high)
    loss = average(torch.maximum(unclipped, clipped), counted)
    with torch.no_grad():
        mean = masked_mean if average is masked_mean else response_mean
        stats = {
            "clip_fraction": mean((clipped > unclipped).to(loss.dtype), counted),
            "approx_kl": mean(log_ratio.square(), counted) / 2,
            "ratio_max_deviation": (log_ratio.exp() - 1).abs().max(),
        }
    return loss, stats
