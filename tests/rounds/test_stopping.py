"""What a round gained and when it is enough, against the same computed another way."""

import random

import numpy as np
import pytest

from truing.rounds.stopping import Gain, best_of, gain_of, gains_nothing


def clear(against: int = 0) -> Gain:
    return Gain(against, 0.5, (0.1, 0.9), 10)


def noise(against: int = 0) -> Gain:
    return Gain(against, 0.5, (0.0, 1.0), 10)


def test_a_gain_is_the_mean_with_its_normal_interval() -> None:
    values = np.random.default_rng(3).normal(0.3, 1.0, 64)
    found = gain_of(values.tolist(), against=2)
    half = 1.959963984540054 * values.std(ddof=1) / 8
    assert (found.against, found.prompts) == (2, 64)
    assert found.mean == pytest.approx(values.mean())
    assert found.ci95 == pytest.approx((values.mean() - half, values.mean() + half))


@pytest.mark.parametrize("values", [[], [3.0], [-3.0], [0.0, 0.0]])
def test_few_or_equal_values_are_no_gain(values: list[float]) -> None:
    assert not gain_of(values, 0).is_clear


def test_an_interval_that_ends_at_0_is_no_gain() -> None:
    assert not noise().is_clear
    assert not Gain(0, -0.5, (-0.9, -0.1), 10).is_clear
    assert clear().is_clear


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_it_ends_where_a_walk_through_the_rounds_would(patience: int) -> None:
    """The rule again, as a person would apply it round by round."""
    draws = random.Random(patience)
    for _ in range(200):
        gained = [draws.random() < 0.4 for _ in range(draws.randint(1, 8))]
        gains = [clear() if one else noise() for one in gained]
        in_vain, best = 0, 0
        for number, one in enumerate(gained, start=1):
            in_vain, best = (0, number) if one else (in_vain + 1, best)
        assert best_of(gains) == best
        assert gains_nothing(gains, patience) == (in_vain >= patience)
