import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from oracles.cases import MASKS, draw, mask_named, tensor
from oracles.episodes import counted_values
from sklearn.metrics import explained_variance_score

from truing.functional import (
    best_temperature,
    calibration_bins,
    distinct_n,
    expected_calibration_error,
    explained_variance,
    mean_interval,
    mean_interval_of_few,
    wilson_interval,
)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("successes", "total"), [(0, 1), (0, 20), (7, 10), (10, 10), (640, 1000)])
def test_wilson_interval(successes, total, confidence):
    expected = scipy.stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, total, confidence) == pytest.approx((expected.low, expected.high))


def test_wilson_interval_of_nothing_and_of_nonsense():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for successes, total in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="successes"):
            wilson_interval(successes, total)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 31])
def test_mean_interval_of_few(count, confidence):
    values = [math.sin(5 * place) for place in range(count)]
    low, high = scipy.stats.t.interval(confidence, count - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert mean_interval_of_few(values, confidence) == pytest.approx((np.mean(values), low, high))


def test_one_value_has_no_spread():
    with pytest.raises(ValueError, match="two values"):
        mean_interval_of_few([1.0])


def test_mean_interval():
    values = [1, 2.5, -0.5, 4.0]
    low, high = scipy.stats.norm.interval(0.9, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert mean_interval(values, 0.9) == pytest.approx((1.75, low, high))
    assert mean_interval([3.0]) == (3.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_calibration_by_hand():
    confidences = torch.tensor([0.05, 0.5, 0.55, 0.95, 1.0], dtype=torch.float64)
    outcomes = torch.tensor([False, True, False, True, True])
    bins = calibration_bins(confidences, outcomes)
    assert [(b.accuracy, b.count) for b in bins] == [(0.0, 1), (0.5, 2), (1.0, 2)]
    assert [b.confidence for b in bins] == pytest.approx([0.05, 0.525, 0.975])
    error = (1 * 0.05 + 2 * 0.025 + 2 * 0.025) / 5
    assert expected_calibration_error(confidences, outcomes) == pytest.approx(error)
    (only,) = calibration_bins(confidences, outcomes, bins=1)
    assert (only.confidence, only.accuracy, only.count) == (pytest.approx(0.61), 0.6, 5)


def test_calibration_error_goes_to_zero_for_honest_confidences_only():
    generator = np.random.default_rng(0)
    confidences = generator.random(20_000)
    outcomes = torch.tensor(generator.random(20_000) < confidences)
    assert expected_calibration_error(torch.tensor(confidences), outcomes) < 0.02
    # certainty where the truth is p errs by 1 − p on average
    assert expected_calibration_error(torch.ones(20_000), outcomes) == pytest.approx(0.5, abs=0.02)
    assert expected_calibration_error(torch.zeros(0), torch.zeros(0)) == 0


@pytest.mark.parametrize("name", [name for name in MASKS if name != "one token"])
def test_explained_variance(name):
    mask, predictions, targets = mask_named(name), draw(0, 3, 4), draw(1, 3, 4)
    expected = explained_variance_score(counted_values(targets, mask), counted_values(predictions, mask))
    actual = explained_variance(tensor(predictions, mask).requires_grad_(), tensor(targets, mask), torch.tensor(mask))
    assert actual.item() == pytest.approx(expected)
    assert not actual.requires_grad


@pytest.mark.parametrize("mask", [torch.ones(1, 7), torch.zeros(1, 7)])
def test_nothing_to_explain(mask):
    assert explained_variance(torch.arange(7.0)[None], torch.full((1, 7), 0.1), mask).item() == 0


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        ([[1, 2, 3]], 1, 1.0),
        ([[1, 1, 1, 1]], 1, 1 / 4),
        ([[1, 2, 1, 2]], 2, 2 / 3),
        ([[1, 2], [1, 2]], 2, 1 / 2),  # no bigram (2, 1) across two texts
        ([[1], []], 2, 0.0),
        ([], 1, 0.0),
    ],
)
def test_distinct_n(texts, n, expected):
    assert math.isclose(distinct_n(texts, n), expected)


def test_an_n_gram_has_a_token():
    with pytest.raises(ValueError, match="n-gram"):
        distinct_n([[1]], 0)


def test_the_temperature_is_where_the_pair_loss_is_least():
    gaps = np.array([4.0, 3.0, -2.5, 1.0, -0.5, 2.0])
    least = scipy.optimize.minimize_scalar(
        lambda t: np.logaddexp(0, -gaps / t).mean(), bounds=(0.1, 50), method="bounded", options={"xatol": 1e-9}
    )
    assert best_temperature(torch.tensor(gaps)) == pytest.approx(least.x, rel=1e-5)
    assert best_temperature(torch.tensor([1.0, 2.0])) == pytest.approx(0.01)
    assert best_temperature(torch.tensor([1.0, -2.0])) is None
