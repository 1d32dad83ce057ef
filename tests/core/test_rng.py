"""Draws are functions of seed, purpose and position: nothing that is drawn elsewhere or before changes them."""

import statistics
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from truing.core import rng

DRAWS: dict[str, Callable[..., Any]] = {
    "uniform": lambda *of: tuple(rng.uniform(*of, count=4)),
    "normal": lambda *of: tuple(rng.normal(*of, count=4)),
    "permutation": lambda *of: tuple(rng.permutation(*of, count=50)),
    "derived_seed": rng.derived_seed,
}


@pytest.mark.parametrize("draw", DRAWS)
def test_the_same_position_draws_the_same_whatever_was_drawn_before(draw: str) -> None:
    places = list(product((0, 17), ("rollout", "minibatches"), (0, 1), (0, 1)))
    there = {place: DRAWS[draw](*place) for place in places}
    back = {place: DRAWS[draw](*place) for place in reversed(places)}
    assert there == back
    assert len(set(there.values())) == len(places)


@pytest.mark.parametrize("draw", DRAWS)
def test_positions_that_only_read_alike_are_different(draw: str) -> None:
    alike = [(1, "a", 23), (1, "a", 2, 3), (12, "a", 3), (1, "a2", 3)]
    assert len({DRAWS[draw](*place) for place in alike}) == len(alike)


def test_a_longer_draw_begins_as_the_shorter_one() -> None:
    """So a longer limit on responses changes none that ended before it."""
    assert rng.uniform(17, "rollout", 3, count=100)[:7].tolist() == rng.uniform(17, "rollout", 3, count=7).tolist()


def test_draws_have_the_distribution_that_they_are_named_after() -> None:
    uniform = rng.uniform(0, "test", count=20_000)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert statistics.fmean(uniform) == pytest.approx(1 / 2, abs=4 * (1 / 12 / 20_000) ** 0.5)
    normal = rng.normal(0, "test", count=20_000)
    assert statistics.fmean(normal) == pytest.approx(0, abs=4 / 20_000**0.5)
    assert statistics.pvariance(normal) == pytest.approx(1, abs=4 * (2 / 20_000) ** 0.5)
    assert sorted(rng.permutation(0, "test", count=1000)) == list(range(1000))
    assert 0 <= rng.derived_seed(0, "test") < 2**63


def test_a_seed_means_the_same_run_in_every_version() -> None:
    """As first released; who changes a number here changes every run that anybody has made."""
    assert rng.uniform(17, "rollout", 0, count=2).tolist() == [0.6126078662257595, 0.43033615329721564]
    assert rng.permutation(17, "prompts", 0, count=8) == [7, 1, 6, 5, 4, 2, 0, 3]
    assert rng.derived_seed(17, "adapter policy") == 8307882434503828874
