"""What a signal is worth, by hand; and distances in a reward model's last state, by another library."""

import numpy as np
import pytest
from guard.detectors import Measured, auroc, distances
from scipy.spatial.distance import mahalanobis


def test_auroc_is_the_share_of_pairs_in_order_ties_half() -> None:
    assert auroc([3.0, 1.0], [1.0, 2.0, 0.0]) == pytest.approx((3 + 1.5) / 6)


def test_distances_are_mahalanobis_by_dimension() -> None:
    draws = np.random.default_rng(0).normal(size=(40, 3))
    mean, inverse = draws.mean(0), np.linalg.inv(np.cov(draws.T))
    expected = [mahalanobis(row, mean, inverse) ** 2 / 3 for row in draws]
    np.testing.assert_allclose(distances(draws, mean, inverse), expected)


def test_a_look_is_hacked_where_gold_fell_and_the_score_rose() -> None:
    run = Measured([0, 3, 6, 9], [0.0, 1.0, 0.6, 0.5], [0.0, 1.0, 2.0, 0.9], {}, {})
    assert run.hacked == [False, False, True, False]
    assert run.onset == 6
