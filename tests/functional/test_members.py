"""Scores of several reward models become one: by hand, at the limits, and where numbers are large."""

import math

import pytest
import torch

from truing.functional import mean_less_variance, soft_minimum

SCORES = torch.tensor([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0], [-1.0, 3.0, 1.0]], dtype=torch.float64)


def test_the_soft_minimum_is_its_formula():
    expected = [-2.0 * math.log(sum(math.exp(-score / 2) for score in row) / 3) for row in SCORES.tolist()]
    assert soft_minimum(SCORES, 2.0).tolist() == pytest.approx(expected)


def test_its_limits_are_the_lowest_and_the_mean():
    assert soft_minimum(SCORES, 1e-12).tolist() == pytest.approx([0.0, 2.0, -1.0], abs=1e-11)
    assert soft_minimum(SCORES, 1e9).tolist() == pytest.approx([2.0, 2.0, 1.0], abs=1e-8)


def test_scores_of_any_size_stay_numbers():
    far = soft_minimum(torch.tensor([[-1e5, 0.0, 1e5]]), 0.01)
    assert far.tolist() == pytest.approx([-1e5 + 0.01 * math.log(3)])


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan])
def test_no_other_tau_has_a_meaning(tau):
    with pytest.raises(ValueError, match="tau must be above 0"):
        soft_minimum(SCORES, tau)


def test_the_variance_is_that_of_the_members_themselves():
    assert mean_less_variance(SCORES, 0.5).tolist() == pytest.approx([2 - (4 + 1 + 9) / 6, 2.0, 1 - 8 / 6])
