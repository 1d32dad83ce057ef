"""Batches of every shape a mask can take, with something vile where nothing counts."""

import numpy as np
import torch

MASKS = {
    "full": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
    "ragged": [[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]],
    "one token": [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    "left-padded": [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]],
    "gaps": [[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 1]],
    "empty rows": [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]],
}


def mask_named(name: str) -> np.ndarray:
    return np.array(MASKS[name])


def draw(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Standard normal numbers, the same for the same seed."""
    return np.random.default_rng(seed).normal(size=shape) * scale


def tensor(x: np.ndarray, mask: np.ndarray | None = None, off_mask: float = float("nan")) -> torch.Tensor:
    """`x` in float64, with `off_mask` written wherever the mask is 0."""
    return torch.tensor(x if mask is None else np.where(mask, x, off_mask))
