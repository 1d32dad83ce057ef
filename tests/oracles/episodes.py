"""Rewards and advantages, one row and one counted token at a time. Nothing off the mask is ever read."""

import numpy as np


def counted_positions(mask: np.ndarray) -> list[tuple[int, list[int]]]:
    """Each row's number and where its counted tokens stand."""
    return [(b, [t for t, m in enumerate(row) if m]) for b, row in enumerate(mask)]


def counted_values(x: np.ndarray, mask: np.ndarray) -> list[float]:
    return [float(x[b, t]) for b, positions in counted_positions(mask) for t in positions]


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def whiten(x: np.ndarray, mask: np.ndarray, shift_mean: bool) -> np.ndarray:
    values = counted_values(x, mask)
    centre = mean(values)
    deviation = mean([(value - centre) ** 2 for value in values]) ** 0.5
    out = np.zeros(x.shape)
    for b, positions in counted_positions(mask):
        for t in positions:
            out[b, t] = (x[b, t] - centre) / deviation + (0.0 if shift_mean else centre)
    return out


def shaped_rewards(
    scores: np.ndarray, logprobs: np.ndarray, ref_logprobs: np.ndarray, mask: np.ndarray, beta: float
) -> np.ndarray:
    out = np.zeros(logprobs.shape)
    for b, positions in counted_positions(mask):
        for t in positions:
            out[b, t] = -beta * (logprobs[b, t] - ref_logprobs[b, t])
        if positions:
            out[b, positions[-1]] += scores[b]
    return out


def gae(
    rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """The definition as a sum, A_t = Σ_l (γλ)^l·δ_{t+l}, rather than the recursion."""
    advantages, returns = np.zeros(values.shape), np.zeros(values.shape)
    for b, positions in counted_positions(mask):
        v = [values[b, t] for t in positions] + [0.0]
        deltas = [rewards[b, t] + gamma * v[i + 1] - v[i] for i, t in enumerate(positions)]
        for i, t in enumerate(positions):
            advantages[b, t] = sum((gamma * gae_lambda) ** k * delta for k, delta in enumerate(deltas[i:]))
            returns[b, t] = advantages[b, t] + v[i]
    return advantages, returns
