"""The forms of a frontier, against data that was made by them and against a search for their highest point."""

import math

import numpy as np
import pytest

from truing.functional import fit_frontier
from truing.functional.frontier import Form

DISTANCES = [0.0, 0.2, 0.5, 1.0, 1.7, 2.5, 4.0]
ONLINE: Form = "reinforcement learning"
BEST: Form = "best-of-n"
WORTH = {ONLINE: lambda d, a, b: d * (a - b * math.log(d)), BEST: lambda d, a, b: d * (a - b * d)}


def gains(form: Form, alpha: float, beta: float) -> list[float]:
    return [WORTH[form](distance, alpha, beta) if distance else 0.0 for distance in DISTANCES]


@pytest.mark.parametrize(("form", "alpha", "beta"), [(ONLINE, 0.7, 0.4), (ONLINE, 0.5, -0.1), (BEST, 1.2, 0.3)])
def test_a_curve_of_a_form_is_found_again(form: Form, alpha: float, beta: float) -> None:
    fit = fit_frontier(form, DISTANCES, gains(form, alpha, beta))
    assert fit is not None
    assert (fit.alpha, fit.beta, fit.explained) == pytest.approx((alpha, beta, 1.0))
    assert fit.points == len(DISTANCES) - 1  # where nothing has moved, nothing is said
    assert [fit.gain(distance) for distance in DISTANCES] == pytest.approx(gains(form, alpha, beta))


def test_a_fit_has_the_least_squared_error() -> None:
    distances = np.array(DISTANCES[1:])
    noisy = np.array([0.2, 0.1, 0.9, 0.7, 0.3, -0.5])
    columns = np.stack([distances, -distances * np.log(distances)], axis=1)
    best, left, _, _ = np.linalg.lstsq(columns, noisy)
    fit = fit_frontier(ONLINE, list(distances), list(noisy))
    assert fit is not None
    assert [fit.alpha, fit.beta] == pytest.approx(list(best))
    assert fit.explained == pytest.approx(1 - left[0] / np.sum((noisy - noisy.mean()) ** 2))


@pytest.mark.parametrize(("form", "alpha", "beta"), [(ONLINE, 0.7, 0.4), (BEST, 1.2, 0.3)])
def test_the_peak_is_where_a_search_finds_it(form: Form, alpha: float, beta: float) -> None:
    fit = fit_frontier(form, DISTANCES, gains(form, alpha, beta))
    tried = np.linspace(1e-3, 10, 100_000)
    assert fit is not None
    assert fit.peak == pytest.approx(max(tried, key=lambda d: WORTH[form](d, alpha, beta)), abs=1e-3)


@pytest.mark.parametrize(("form", "alpha", "beta"), [(ONLINE, 0.5, -0.1), (BEST, 0.5, -0.1), (BEST, -0.5, 0.1)])
def test_a_curve_that_never_turns_has_no_peak(form: Form, alpha: float, beta: float) -> None:
    fit = fit_frontier(form, DISTANCES, gains(form, alpha, beta))
    assert fit is not None
    assert fit.peak is None


def test_two_distances_are_too_few() -> None:
    assert fit_frontier(ONLINE, [0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.1, 2.0]) is None
