"""Scores of several reward models for the same responses, combined so that where they differ less is promised."""

import torch

from truing.functional.shapes import Number, PerMember, PerSequence


def soft_minimum(scores: PerMember, tau: Number) -> PerSequence:
    """Between the lowest of k members' scores, as τ → 0, and their mean, as τ → ∞.

        r = −τ·log (1/k)·Σ_m exp(−r_m/τ)

    What somebody who is averse to risk at the rate 1/τ would take for certain instead of a member drawn at random; for
    a large τ the mean less variance/(2τ). The lowest is the worst case of Coste et al. 2023 (arXiv:2310.02743).

    scores (B, k). Returns (B,). Raises ValueError unless τ > 0.
    """
    if not tau > 0:
        raise ValueError(f"tau must be above 0, not {tau}")
    lowest = scores.amin(-1)
    missing = torch.expm1((lowest[..., None] - scores) / tau).mean(-1)  # in (−1, 0]: nothing overflows
    return lowest - tau * torch.log1p(missing)


def mean_less_variance(scores: PerMember, price: Number) -> PerSequence:
    """The mean over k members less λ times their variance.

        r = r̄ − λ·(1/k)·Σ_m (r_m − r̄)²

    Uncertainty-weighted optimisation, Coste et al. 2023 (arXiv:2310.02743).

    scores (B, k); price λ. Returns (B,).
    """
    return scores.mean(-1) - price * scores.var(-1, correction=0)
