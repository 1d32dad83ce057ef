"""Best-of-n sampling: the simplest policy to hold the others against."""

import math


def best_of_n_kl_bound(n: int) -> float:
    """Upper bound, in nats, on the KL from the reference of keeping the best of `n` samples: log n − (n − 1)/n.

    It is met only where no two samples can tie; over few outcomes the true value is lower.
    Beirami et al. 2024 (arXiv:2401.01879). Raises ValueError unless n ≥ 1.
    """
    if n < 1:
        raise ValueError(f"best-of-n needs at least one sample, not {n}")
    return math.log(n) - (n - 1) / n
