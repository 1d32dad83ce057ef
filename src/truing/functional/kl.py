"""The KL divergence of the policy from the reference: exact over the vocabulary, or estimated from a sample."""

from typing import Literal

import torch

from truing.functional.shapes import Logits, PerToken


def kl_exact(logits: Logits, ref_logits: Logits) -> PerToken:
    """KL(π‖π_ref) = Σ_v π(v)·(log π(v) − log π_ref(v)) at each position, in nats.

    logits, ref_logits (B, R, V), already divided by the temperature. Returns (B, R). Infinite where the reference
    rules out what the policy does not.
    """
    logprobs, ref_logprobs = torch.log_softmax(logits, dim=-1), torch.log_softmax(ref_logits, dim=-1)
    probs = logprobs.exp()
    return (probs * torch.where(probs > 0, logprobs - ref_logprobs, 0.0)).sum(-1)


def kl_estimate(logprobs: PerToken, ref_logprobs: PerToken, estimator: Literal["k1", "k2", "k3"] = "k1") -> PerToken:
    """Estimates of KL(π‖π_ref) from one token sampled from π, in nats, with d = log π − log π_ref.

        k1 = d      k2 = d² / 2      k3 = e^(−d) − 1 + d

    k1 and k3 are unbiased, k2 is not; k2 and k3 are never negative. In a reward only k1 has the gradient of the KL:
    k3 there is unbounded below. Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html).

    logprobs, ref_logprobs (B, R). Returns (B, R). There is no mask here and k3 can overflow, so before
    differentiating it set both inputs to 0 where nothing counts. Raises ValueError on another estimator.
    """
    d = logprobs - ref_logprobs
    match estimator:
        case "k1":
            return d
        case "k2":
            return d.square() / 2
        case "k3":
            return torch.expm1(-d) + d
    raise ValueError(f"unknown KL estimator {estimator!r}; there are 'k1', 'k2' and 'k3'")
