"""The losses, one counted token or pair at a time."""

import math

import numpy as np
from oracles.episodes import counted_positions, mean


def ppo_policy(
    logprobs: np.ndarray, old_logprobs: np.ndarray, advantages: np.ndarray, mask: np.ndarray, clip_range: float
) -> dict[str, float]:
    """The objective by cases: a good token gains up to 1 + c, a bad one loses down to 1 − c."""
    losses, clipped, squares, deviations = [], [], [], [0.0]
    for b, positions in counted_positions(mask):
        for t in positions:
            log_ratio, advantage = logprobs[b, t] - old_logprobs[b, t], advantages[b, t]
            ratio = math.exp(log_ratio)
            bound = min(ratio, 1 + clip_range) if advantage >= 0 else max(ratio, 1 - clip_range)
            losses.append(-bound * advantage)
            clipped.append(float(bound != ratio))
            squares.append(log_ratio**2 / 2)
            deviations.append(abs(ratio - 1))
    return {
        "loss": mean(losses),
        "clip_fraction": mean(clipped),
        "approx_kl": mean(squares),
        "ratio_max_deviation": max(deviations),
    }


def ppo_value(
    values: np.ndarray, old_values: np.ndarray, returns: np.ndarray, mask: np.ndarray, clip_range: float
) -> dict[str, float]:
    losses, clipped = [], []
    for b, positions in counted_positions(mask):
        for t in positions:
            low, high = old_values[b, t] - clip_range, old_values[b, t] + clip_range
            error = (values[b, t] - returns[b, t]) ** 2
            held_error = (min(max(values[b, t], low), high) - returns[b, t]) ** 2
            losses.append(max(error, held_error) / 2)
            clipped.append(float(held_error > error))
    return {"loss": mean(losses), "value_clip_fraction": mean(clipped)}


def bradley_terry(chosen: np.ndarray, rejected: np.ndarray, margin: np.ndarray, label_smoothing: float) -> float:
    """Cross-entropy of the label with P(chosen wins) = 1 / (1 + e^(−h)); −log of it is log(1 + e^(−h))."""
    losses = []
    for win, lose, m in zip(chosen, rejected, margin, strict=True):
        h = win - lose - m
        losses.append((1 - label_smoothing) * np.logaddexp(0, -h) + label_smoothing * np.logaddexp(0, h))
    return mean(losses)


def dpo(
    chosen: np.ndarray,
    rejected: np.ndarray,
    ref_chosen: np.ndarray,
    ref_rejected: np.ndarray,
    beta: float,
    variant: str,
    label_smoothing: np.ndarray,
) -> float:
    """Pair by pair, from the probability 1 / (1 + e^(−βh)) that the policy's own reward gives the label."""
    losses = []
    for win, lose, ref_win, ref_lose, flipped in zip(
        chosen, rejected, ref_chosen, ref_rejected, label_smoothing, strict=True
    ):
        h = (win - lose) - (ref_win - ref_lose)
        right, wrong = np.logaddexp(0, -beta * h), np.logaddexp(0, beta * h)
        match variant:
            case "sigmoid":
                losses.append((1 - flipped) * right + flipped * wrong)
            case "robust":
                losses.append(((1 - flipped) * right - flipped * wrong) / (1 - 2 * flipped))
            case "ipo":
                losses.append((h - 0.5 / beta) ** 2)
    return mean(losses)


def simpo(chosen: np.ndarray, rejected: np.ndarray, beta: float, gamma: float) -> float:
    """Pair by pair, from the odds e^(βa − γ) : e^(βb) of the two sides."""
    return mean([np.logaddexp(0, beta * lose + gamma - beta * win) for win, lose in zip(chosen, rejected, strict=True)])


def orpo(chosen: np.ndarray, rejected: np.ndarray, weight: float) -> float:
    """Pair by pair, from the probabilities themselves: σ(log(a/b)) is a / (a + b)."""
    losses = []
    for win, lose in zip(np.exp(chosen), np.exp(rejected), strict=True):
        odds, other = win / (1 - win), lose / (1 - lose)
        losses.append(-math.log(win) - weight * math.log(odds / (odds + other)))
    return mean(losses)


def kto(
    logprobs: np.ndarray,
    ref_logprobs: np.ndarray,
    desirable: np.ndarray,
    reference_point: float,
    beta: float,
    weights: tuple[float, float],
) -> float:
    """Row by row, by cases as the paper has them: λ − λ·(value of a gain, or of a loss)."""
    losses = []
    for now, ref, wanted in zip(logprobs, ref_logprobs, desirable, strict=True):
        gain = beta * (now - ref - reference_point) if wanted else beta * (reference_point - (now - ref))
        weight = weights[0] if wanted else weights[1]
        losses.append(weight - weight / (1 + math.exp(-gain)))
    return mean(losses)
