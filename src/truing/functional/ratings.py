"""Losses over responses of which each is wanted or not, without another to compare it with."""

import torch
from torch.nn.functional import sigmoid

from truing.functional.shapes import MaskOfValues, Number, Scalar, Values


def kto_loss(
    logprobs: Values,
    ref_logprobs: Values,
    desirable: MaskOfValues,
    reference_point: Scalar | Number,
    beta: Number = 0.1,
    desirable_weight: Number = 1.0,
    undesirable_weight: Number = 1.0,
) -> Scalar:
    """Kahneman-Tversky optimisation: gains and losses count from a reference point, and ever less far away from it.

        r = log π(y) − log π_ref(y)        v = λ_D·σ(β·(r − z₀)) if y is desirable, else λ_U·σ(β·(z₀ − r))

        L = mean(λ_y − v)

    Ethayarajh et al. 2024 (arXiv:2402.01306), section 4.1; z₀ is `kto_reference_point`, through which no gradient goes.

    logprobs, ref_logprobs (B,) log-probabilities of whole responses, nats; desirable (B,) True where a response is
    wanted; reference_point one number, nats. Returns a scalar. Raises ValueError unless β > 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, not {beta}")
    sign = torch.where(desirable.bool(), 1.0, -1.0).to(logprobs)
    weight = torch.where(desirable.bool(), float(desirable_weight), float(undesirable_weight)).to(logprobs)
    return (weight * (1 - sigmoid(beta * sign * (logprobs - ref_logprobs - reference_point)))).mean()


def kto_reference_point(logprobs: Values, ref_logprobs: Values) -> Scalar:
    """An estimate of KL(π‖π_ref) from responses that belong to other prompts, which no rating is of.

        z₀ = max(0, mean(log π(y′|x) − log π_ref(y′|x)))

    Ethayarajh et al. 2024 (arXiv:2402.01306), section 4.1.

    logprobs, ref_logprobs (B,) log-probabilities of whole mismatched responses, nats. Returns a scalar without a
    gradient.
    """
    return (logprobs - ref_logprobs).mean().clamp(min=0).detach()
