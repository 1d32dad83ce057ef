"""Probabilities over a vocabulary, one position at a time, from their definitions."""

import math

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """(V,) logits to (V,) probabilities."""
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return np.array([weight / sum(weights) for weight in weights])


def entropy(logits: np.ndarray) -> float:
    """−Σ p·log p in nats of (V,) logits."""
    return -sum(p * math.log(p) for p in softmax(logits) if p > 0)


def kl(logits: np.ndarray, ref_logits: np.ndarray) -> float:
    """Σ p·log(p/q) in nats of two (V,) logits."""
    pairs = zip(softmax(logits), softmax(ref_logits), strict=True)
    return sum(p * math.log(p / q) for p, q in pairs if p > 0)


def kl_of_best_of_n(probabilities: np.ndarray, n: int) -> float:
    """KL from its base, in nats, of the best of n draws, outcomes being sorted from worst to best.

    The best of n is at most y exactly when all n are, so its distribution function is the n-th power of the base's.
    """
    total = below = 0.0
    for p in probabilities:
        up_to = below + p
        best = up_to**n - below**n
        total += best * math.log(best / p) if best > 0 else 0.0
        below = up_to
    return total
