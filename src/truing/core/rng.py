"""Random draws as pure functions of (seed, purpose, *position): there is no generator state to save or to lose.

A run that is resumed, re-sharded or re-batched asks for the same positions and so draws the same numbers.
"""

import hashlib

import numpy as np


def _generator(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A counter-based generator whose stream belongs to this purpose and position alone."""
    label = ":".join([str(seed), purpose, *map(str, position)])
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def uniform(seed: int, purpose: str, *position: int, count: int) -> np.ndarray:
    """`count` float64 draws from [0, 1)."""
    return _generator(seed, purpose, *position).random(count)


def normal(seed: int, purpose: str, *position: int, count: int) -> np.ndarray:
    """`count` float64 draws from the standard normal distribution."""
    return _generator(seed, purpose, *position).standard_normal(count)


def permutation(seed: int, purpose: str, *position: int, count: int) -> list[int]:
    """The integers below `count` in a random order."""
    return [int(index) for index in _generator(seed, purpose, *position).permutation(count)]


def derived_seed(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for a library that wants one."""
    return int(_generator(seed, purpose, *position).integers(2**63))
