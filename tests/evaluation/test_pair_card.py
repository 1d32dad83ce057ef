import math

import numpy as np
import pytest
import torch
from scipy import stats

from truing.core.errors import DataError
from truing.evaluation.pair_card import pair_card

# Ten pairs: seven right, one tie, two wrong. The longer one is chosen in six and ties in two.
GAPS = [2.0, 1.5, 1.0, 0.7, 0.4, 0.3, 0.1, 0.0, -0.6, -1.2]
CHOSEN_LENGTHS = [9, 8, 7, 6, 9, 8, 5, 5, 3, 2]
REJECTED_LENGTHS = [3, 4, 5, 5, 8, 7, 5, 5, 6, 7]


@pytest.fixture(scope="module")
def card():
    return pair_card(GAPS, [0.0] * 10, CHOSEN_LENGTHS, REJECTED_LENGTHS)


def test_accuracies_count_ties_half(card):
    assert card.heldout_pairs == 10
    assert card.heldout_accuracy == pytest.approx(0.75)
    assert card.longer_wins_accuracy == pytest.approx(0.7)


def test_intervals_are_wilsons(card):
    # 7½ successes round down to 7.
    expected = stats.binomtest(7, 10).proportion_ci(0.95, method="wilson")
    assert card.heldout_accuracy_ci95 == pytest.approx(tuple(expected))
    assert card.longer_wins_ci95 == pytest.approx(tuple(expected))


def test_loss_gap_and_correlation_follow_their_formulas(card):
    assert card.heldout_loss == pytest.approx(np.mean([math.log1p(math.exp(-gap)) for gap in GAPS]))
    assert card.score_gap_mean == pytest.approx(np.mean(GAPS))
    correlation = stats.pearsonr(GAPS + [0.0] * 10, CHOSEN_LENGTHS + REJECTED_LENGTHS)
    assert card.reward_length_correlation == pytest.approx(correlation.statistic)


def test_calibration_compares_confidence_in_the_preferred_side_with_how_often_it_won(card):
    confidence = [1 / (1 + math.exp(-abs(gap))) for gap in GAPS]
    won = [1.0] * 7 + [0.5, 0.0, 0.0]
    groups = {}
    for sure, right in zip(confidence, won, strict=True):
        groups.setdefault(int(sure * 10), []).append((sure, right))
    means = [(*np.mean(group, axis=0), len(group)) for _, group in sorted(groups.items())]
    assert [(b.confidence, b.accuracy, b.count) for b in card.calibration] == [pytest.approx(m) for m in means]
    assert card.ece == pytest.approx(sum(count * abs(right - sure) for sure, right, count in means) / 10)
    assert all(b.accuracy_ci95[0] <= b.accuracy <= b.accuracy_ci95[1] for b in card.calibration)


def test_float32_tensors_on_the_graph_are_taken(card):
    scores = torch.tensor(GAPS, requires_grad=True)
    again = pair_card(scores, torch.zeros(10), torch.tensor(CHOSEN_LENGTHS), torch.tensor(REJECTED_LENGTHS))
    assert again.ece == pytest.approx(card.ece, abs=1e-6)


def test_scores_that_do_not_vary_correlate_with_nothing():
    assert pair_card([0.1] * 3, [0.1] * 3, [1, 2, 3], [3, 2, 2]).reward_length_correlation is None


@pytest.mark.parametrize(
    ("chosen", "rejected", "phrase"),
    [
        ([], [], "shapes"),
        ([1.0], [1.0, 2.0], "shapes"),
        ([math.nan], [0.0], "not finite"),
        ([math.inf], [0.0], "not finite"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(chosen, rejected, phrase):
    with pytest.raises(DataError, match=phrase):
        pair_card(chosen, rejected, [1] * len(chosen), [1] * len(rejected))
