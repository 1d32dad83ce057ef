"""Best-of-n sampling: the simplest policy to hold the others against."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def best_of_n_kl_bound(n: int) -> float:
    """Upper bound, in nats, on the KL from the reference of keeping the best of `n` samples: log n − (n − 1)/n.

    It is met only where no two samples can tie; over few outcomes the true value is lower.
    Beirami et al. 2024 (arXiv:2401.01879). Raises ValueError unless n ≥ 1.
    """
    if n < 1:
        raise ValueError(f"best-of-n needs at least one sample, not {n}")
    return math.log(n) - (n - 1) / n


def best_of_n_mean(scores: Float[Tensor, "P N"], values: Float[Tensor, "P N"], n: int) -> float:
    """What the best by score of `n` samples is worth on average, of all ways to choose n of the N that were drawn.

        mean over prompts of  Σ_i C(i − 1, n − 1) / C(N, n) · v_(i)        v_(i): the value of the i-th lowest score

    The unbiased estimator of Nakano et al. 2021 (arXiv:2112.09332, appendix I), which Gao et al. 2022 use. scores and
    values: (P, N) of N samples to each of P prompts; `values` may be the scores themselves. Raises ValueError unless
    1 ≤ n ≤ N.
    """
    count = scores.shape[1]
    if not 1 <= n <= count:
        raise ValueError(f"the best of {n} cannot be chosen from {count} samples")
    weights = [math.comb(rank - 1, n - 1) / math.comb(count, n) for rank in range(1, count + 1)]
    ranked = values.double().gather(1, scores.argsort(dim=1, stable=True))
    return float((ranked @ torch.tensor(weights, dtype=torch.float64)).mean())
