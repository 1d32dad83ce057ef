"""Strengths against the posterior on a grid; evidence against its exact law under fair judgements."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from truing.functional.comparisons import (
    Compared,
    chance_of_weaker,
    evidence_of_loss,
    followed,
    pooled_log_odds,
    smoothed_strengths,
)


def _log_posterior(strength: np.ndarray, wins: float, count: int, deviation: float) -> np.ndarray:
    chance = 1 / (1 + np.exp(-strength))
    return wins * np.log(chance) + (count - wins) * np.log(1 - chance) - strength**2 / (2 * deviation**2)


@pytest.mark.parametrize(("wins", "count", "deviation"), [(20, 26, 0.5), (3.5, 26, 0.26), (0, 10, 1.0), (13, 26, 2.0)])
def test_one_strength_is_the_mode_of_its_posterior(wins: float, count: int, deviation: float) -> None:
    grid = np.linspace(-6, 6, 1_200_001)
    values = _log_posterior(grid, wins, count, deviation)
    step = grid[1] - grid[0]
    best = int(values.argmax())
    curvature = (values[best - 100] - 2 * values[best] + values[best + 100]) / (100 * step) ** 2
    means, covariance = smoothed_strengths([(0, deviation)], [Compared(1, 0, wins, count)])
    assert means[0] == pytest.approx(0.0, abs=1e-9)
    assert float(means[1]) == pytest.approx(grid[best], abs=1e-4)
    assert float(covariance[1, 1]) == pytest.approx(-1 / curvature, rel=1e-3)


def test_many_judgements_leave_the_share_of_wins_alone() -> None:
    means, _ = smoothed_strengths([(0, 50.0)], [Compared(1, 0, 750, 1000)])
    assert float(means[1]) == pytest.approx(math.log(3), abs=1e-3)


def test_a_look_without_judgements_is_where_training_came_from_and_less_sure() -> None:
    means, covariance = smoothed_strengths([(0, 0.5), (1, 0.5)], [Compared(1, 0, 20, 26)])
    assert float(means[2]) == pytest.approx(float(means[1]))
    assert float(covariance[2, 2]) == pytest.approx(float(covariance[1, 1]) + 0.25)


def test_a_later_look_corrects_an_earlier_one() -> None:
    lucky = [Compared(1, 0, 20, 26)]
    alone, _ = smoothed_strengths([(0, 0.5), (1, 0.5)], lucky)
    both, _ = smoothed_strengths([(0, 0.5), (1, 0.5)], [*lucky, Compared(2, 0, 10, 26)])
    assert both[1] < alone[1]


def test_the_chance_of_being_weaker_is_that_of_a_normal_difference() -> None:
    strengths = torch.tensor([0.0, 1.0, 0.4], dtype=torch.float64)
    covariance = torch.tensor([[0, 0, 0], [0, 0.5, 0.2], [0, 0.2, 0.26]], dtype=torch.float64)
    assert chance_of_weaker(strengths, covariance, 2, 1) == pytest.approx(0.8413447)  # 0.6 over a deviation of 0.6
    assert chance_of_weaker(strengths, covariance, 1, 2) == pytest.approx(1 - 0.8413447)
    assert chance_of_weaker(strengths, covariance, 1, 0) == pytest.approx(0.0786496)  # −1 over one of √½


def test_evidence_is_one_on_average_where_judgements_are_fair() -> None:
    total = sum(evidence_of_loss([outcomes]) for outcomes in product((0.0, 1.0), repeat=10))
    assert total / 2**10 == pytest.approx(1.0)


def test_fair_judgements_reach_twenty_seldom_however_often_one_looks() -> None:
    reached = sum(
        any(evidence_of_loss([outcomes[:looked]]) >= 20 for looked in range(1, 15))
        for outcomes in product((0.0, 1.0), repeat=14)
    )
    assert 0 < reached / 2**14 <= 1 / 20


def test_evidence_by_hand() -> None:
    # bets: 0, then 1 - 2*(0 + 1/2)/2 = 1/2, then 1 - 2*(1/2)/3 = 2/3 on a win, then 1 - 2*(3/2)/4 = 1/4
    assert evidence_of_loss([[0.0, 0.0, 1.0, 0.0]]) == pytest.approx(1 * 1.5 * (1 - 2 / 3) * 1.25)
    assert evidence_of_loss([[1.0, 1.0, 1.0]]) == 1.0
    assert evidence_of_loss([[0.5, 0.5]]) == 1.0


def test_wins_against_one_best_do_not_weaken_losses_against_the_next() -> None:
    losses = [0.0] * 8
    assert evidence_of_loss([[1.0] * 50, losses]) == evidence_of_loss([losses])
    assert evidence_of_loss([losses]) > 20


def test_pooled_log_odds_are_the_modes_of_their_posteriors() -> None:
    wins, counts = [2.0, 0.0, 1.5, 40.0, 0.0], [2, 3, 3, 40, 0]
    grid = np.linspace(-8, 8, 160_001)
    expected = [grid[_log_posterior(grid, won, count, 2.0).argmax()] for won, count in zip(wins, counts, strict=True)]
    found = pooled_log_odds(torch.tensor(wins, dtype=torch.float64), torch.tensor(counts, dtype=torch.float64), 2.0)
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("says", ["as others", "at random", "the contrary", "the contrary of the sure"])
def test_how_far_somebody_follows_is_the_mode_of_its_posterior(says: str) -> None:
    draws = np.random.default_rng(0)
    odds = draws.normal(0, 1.5, 60) * (6 if says.endswith("sure") else 1)
    chance = 1 / (1 + np.exp(-odds))
    drawn = (draws.random(60) < (0.5 if says == "at random" else chance)).astype(float)
    outcomes = 1 - drawn if says.startswith("the contrary") else drawn
    outcomes[:5] = 0.5
    grid = np.linspace(-6, 6, 120_001)
    # log(1 + exp(x)) without overflow
    soft = np.logaddexp(0, -np.outer(grid, odds)), np.logaddexp(0, np.outer(grid, odds))
    values = -(soft[0] * outcomes + soft[1] * (1 - outcomes)).sum(1) - (grid - 1) ** 2 / (2 * 2.0**2)
    best, step = int(values.argmax()), grid[1] - grid[0]
    curvature = (values[best - 100] - 2 * values[best] + values[best + 100]) / (100 * step) ** 2
    value, error = followed(torch.from_numpy(odds), torch.from_numpy(outcomes), 2.0)
    assert value == pytest.approx(grid[best], abs=2e-4)
    assert error == pytest.approx((-curvature) ** -0.5, rel=1e-2)
