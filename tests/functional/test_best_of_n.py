from itertools import combinations

import numpy as np
import pytest
import torch
from oracles.distributions import kl_of_best_of_n

from truing.functional import best_of_n_kl_bound, best_of_n_mean


@pytest.mark.parametrize(("n", "expected"), [(1, 0.0), (2, 0.1931), (4, 0.6363), (16, 1.8351), (64, 3.1745)])
def test_bound_is_met_where_ties_are_rare(n, expected):
    assert best_of_n_kl_bound(n) == pytest.approx(expected, abs=3e-4)
    assert kl_of_best_of_n(np.full(4096, 1 / 4096), n) == pytest.approx(best_of_n_kl_bound(n), abs=1e-3)


def test_few_outcomes_stay_below_the_bound():
    for outcomes in (2, 8, 64):
        for n in (2, 4, 16, 64, 256):
            assert kl_of_best_of_n(np.full(outcomes, 1 / outcomes), n) < best_of_n_kl_bound(n)


def test_at_least_one_sample():
    with pytest.raises(ValueError, match="at least one"):
        best_of_n_kl_bound(0)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_mean_of_the_best_is_that_of_all_ways_to_choose(n: int) -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.5, 0.4], [5.0, 4.0, 1.0, 2.0, 3.0]])
    values = torch.tensor([[1.0, 7.0, -2.0, 4.0, 0.0], [0.0, 1.0, 10.0, -3.0, 6.0]])
    ways = [
        values[prompt, max(chosen, key=lambda place: float(scores[prompt, place]))].item()
        for prompt in range(2)
        for chosen in combinations(range(5), n)
    ]
    assert best_of_n_mean(scores, values, n) == pytest.approx(sum(ways) / len(ways))


def test_no_more_are_chosen_than_there_are() -> None:
    with pytest.raises(ValueError):
        best_of_n_mean(torch.zeros(1, 3), torch.zeros(1, 3), 4)
