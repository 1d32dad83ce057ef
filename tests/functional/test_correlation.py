"""Correlations against scipy, and groups by hand."""

import pytest
import torch
from scipy import stats

from truing.functional import correlation_interval, pearson, within_groups

X, Y = [1.0, 2.0, 4.0, 3.0, 7.0], [0.5, 1.5, 1.0, 2.5, 3.0]


def test_the_correlation_and_its_interval_are_scipys():
    expected = stats.pearsonr(X, Y)
    found = pearson(torch.tensor(X), torch.tensor(Y))
    assert found == pytest.approx(expected.statistic)
    assert correlation_interval(found, 5) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_what_does_not_vary_goes_with_nothing_and_few_tell_nothing():
    assert pearson(torch.ones(3), torch.tensor([1.0, 2.0, 3.0])) is None
    assert correlation_interval(0.9, 3) == (-1.0, 1.0)
    assert correlation_interval(1.0, 10) == (1.0, 1.0)


def test_values_are_taken_from_the_mean_of_their_group():
    found = within_groups(torch.tensor([1.0, 5.0, 3.0, 2.0]), torch.tensor([0, 2, 0, 2]))
    assert found.tolist() == [-1.0, 1.5, 1.0, -1.5]
