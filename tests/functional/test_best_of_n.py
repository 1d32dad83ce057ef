import numpy as np
import pytest
from oracles.distributions import kl_of_best_of_n

from truing.functional import best_of_n_kl_bound


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
