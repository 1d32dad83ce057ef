"""Losses over pairs of which one was preferred."""

from typing import Literal

import torch
from torch.nn.functional import logsigmoid

from truing.functional.shapes import Number, Scalar, Values


def bradley_terry_loss(
    chosen: Values,
    rejected: Values,
    margin: Values | Number | None = None,
    label_smoothing: Values | Number = 0.0,
    weights: Values | None = None,
) -> Scalar:
    """Negative log-likelihood that the chosen response wins.

        h = r_chosen − r_rejected − margin      L = mean w·(−(1 − ε)·log σ(h) − ε·log σ(−h))

    Bradley & Terry 1952; Ouyang et al. 2022 (arXiv:2203.02155), equation 1; the margin is that of Touvron et al. 2023
    (arXiv:2307.09288), equation 2; ε is the share of labels taken to be flipped; w says how often each pair counts.
    Where a share p of several people preferred the chosen side, ε = 1 − p is the cross-entropy of their votes, least at
    h = log(p / (1 − p)).

    chosen, rejected (B,) scores; margin and label_smoothing (B,) or one number; weights (B,), 1 where there are none.
    Returns a scalar: the sum divided by B.
    """
    h = chosen - rejected
    if margin is not None:
        h = h - margin
    losses = -((1 - label_smoothing) * logsigmoid(h) + label_smoothing * logsigmoid(-h))
    return (losses if weights is None else weights * losses).mean()


def dpo_loss(
    chosen: Values,
    rejected: Values,
    ref_chosen: Values,
    ref_rejected: Values,
    beta: Number = 0.1,
    variant: Literal["sigmoid", "robust", "ipo"] = "sigmoid",
    label_smoothing: Values | Number = 0.0,
) -> Scalar:
    """Direct preference optimisation: the policy is its own reward model, r = β·log(π/π_ref).

        h = (log π(chosen) − log π_ref(chosen)) − (log π(rejected) − log π_ref(rejected))

        sigmoid   −(1 − ε)·log σ(βh) − ε·log σ(−βh)                    ε > 0 is conservative DPO
        robust    (−(1 − ε)·log σ(βh) + ε·log σ(−βh)) / (1 − 2ε)       unbiased where a share ε of labels is flipped
        ipo       (h − 1/(2β))²                                        on log-probabilities averaged over tokens

    Rafailov et al. 2023 (arXiv:2305.18290), equation 7; Mitchell 2023, "A note on DPO with noisy preferences";
    Chowdhury et al. 2024 (arXiv:2403.00409), equation 11; Azar et al. 2023 (arXiv:2310.12036), equation 17.

    chosen, rejected, ref_chosen, ref_rejected (B,) log-probabilities of whole responses, nats; label_smoothing one
    number or (B,). Returns the mean, a scalar. Raises ValueError unless β > 0, on another variant, on ipo with label
    smoothing (it has none) and on robust with ε = ½ (such labels say nothing).
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, not {beta}")
    h = (chosen - ref_chosen) - (rejected - ref_rejected)
    flipped = torch.as_tensor(label_smoothing, dtype=h.dtype)  # a number stays on the host, which waits for none
    won, lost = -logsigmoid(beta * h), -logsigmoid(-beta * h)
    match variant:
        case "sigmoid":
            return ((1 - flipped) * won + flipped * lost).mean()
        case "robust" if not (flipped == 0.5).any():
            return (((1 - flipped) * won - flipped * lost) / (1 - 2 * flipped)).mean()
        case "ipo" if not flipped.any():
            return (h - 1 / (2 * beta)).square().mean()
        case "robust" | "ipo":
            raise ValueError(f"the variant {variant} has no label smoothing of {label_smoothing}")
    raise ValueError(f"unknown DPO variant {variant!r}; there are 'sigmoid', 'robust' and 'ipo'")


def simpo_loss(chosen: Values, rejected: Values, beta: Number = 2.0, gamma: Number = 1.0) -> Scalar:
    """Simple preference optimisation: the reward is what the policy itself samples by, and no reference is asked.

        L = mean −log σ(β·(log π(chosen)/|chosen| − log π(rejected)/|rejected|) − γ)

    Meng et al. 2024 (arXiv:2405.14734), equation 6; γ is the margin by which the chosen side is to win.

    chosen, rejected (B,) log-probabilities of responses averaged over their tokens, nats. Returns a scalar. Raises
    ValueError unless β > 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, not {beta}")
    return -logsigmoid(beta * (chosen - rejected) - gamma).mean()


def orpo_loss(chosen: Values, rejected: Values, weight: Number = 0.1) -> Scalar:
    """Odds ratio preference optimisation: learn to say the chosen side, and to prefer it, in one loss.

        L = mean −log p(chosen) − λ·log σ(log odds(chosen) − log odds(rejected)),    odds(y) = p(y) / (1 − p(y))

    Hong et al. 2024 (arXiv:2403.07691), equations 6 and 7; p(y) is the geometric mean of the probabilities of a
    response's tokens, and λ the `weight`. λ = 0 is supervised fine-tuning on the chosen side.

    chosen, rejected (B,) log p, that is log-probabilities averaged over tokens, nats. Returns a scalar. Raises
    ValueError if λ < 0.
    """
    if weight < 0:
        raise ValueError(f"weight must not be below 0, but is {weight}")
    return -(chosen + weight * logsigmoid(log_odds(chosen) - log_odds(rejected))).mean()


def log_odds(logprobs: Values) -> Values:
    """log(p / (1 − p)) from log p, nats; p is held one rounding below 1, where the odds would have no end."""
    below_one = logprobs.clamp(max=-torch.finfo(logprobs.dtype).eps)
    return below_one - torch.log(-torch.expm1(below_one))
