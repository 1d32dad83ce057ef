"""Scores on the scale of the SFT model's."""

import math
import statistics

import pytest

from truing.core.errors import RewardError
from truing.core.normalisation import Normalisation


def test_normalised_scores_have_mean_zero_and_population_deviation_one() -> None:
    scores = [1.0, 2.0, 4.0, 9.0]
    measured = Normalisation.measure(scores, where="here")
    assert measured.mean == pytest.approx(statistics.fmean(scores))
    assert measured.std == pytest.approx(statistics.pstdev(scores))
    normal = measured.apply(scores)
    assert statistics.fmean(normal) == pytest.approx(0.0, abs=1e-12)
    assert statistics.pstdev(normal) == pytest.approx(1.0)


def test_a_source_that_never_varies_is_refused() -> None:
    with pytest.raises(RewardError, match=r"here: gives every one of 3 SFT samples the same score \(2\)"):
        Normalisation.measure([2.0, 2.0, 2.0], where="here")


def test_normalisation_is_measured_on_the_scores_there_are() -> None:
    assert Normalisation.measure([1.0, math.nan, 3.0], where="here") == Normalisation(2.0, 1.0)
    with pytest.raises(RewardError, match="here: gives none of 2 SFT samples a finite score"):
        Normalisation.measure([math.nan, math.inf], where="here")
