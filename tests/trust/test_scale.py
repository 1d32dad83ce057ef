"""What sizes of scores say, against the formulas."""

import numpy as np
import pytest
from scipy import stats
from trust.cases import card_of, measured, scored

from truing.core.results import Check
from truing.trust.pairs import ScoredPairs
from truing.trust.scale import calibration, length_correlation


def calibrated(pairs: ScoredPairs) -> Check:
    return calibration(pairs, card_of(pairs), log_odds=True)


def test_a_model_as_sure_as_it_is_right_passes_and_one_three_times_as_sure_is_warned_of() -> None:
    # Of 100 pairs with a difference of ln 3, 75 right: exactly what σ says.
    gaps = [np.log(3)] * 75 + [-np.log(3)] * 25
    fair = calibrated(scored(gaps))
    assert fair.verdict == "pass"
    assert measured(fair)["calibration error"] == pytest.approx(0.0, abs=1e-9)
    assert measured(fair)["temperature"] == pytest.approx(1.0)
    sure = calibrated(scored([1.8 * gap for gap in gaps]))
    assert sure.verdict == "warn"
    assert measured(sure)["temperature"] == pytest.approx(1.8)
    assert measured(sure)["calibration error at it"] == pytest.approx(0.0, abs=1e-9)


def test_too_sure_on_few_pairs_may_be_chance() -> None:
    gaps = [1.8 * np.log(3)] * 15 + [-1.8 * np.log(3)] * 5
    assert calibrated(scored(gaps)).verdict == "pass"
    assert calibrated(scored(gaps[:19])).verdict == "not measured"


def test_a_loss_above_that_of_a_coin_fails() -> None:
    found = calibrated(scored([4.0] * 75 + [-4.0] * 25))  # 0.75·ln(1 + e⁻⁴) + 0.25·ln(1 + e⁴) = 1.02
    assert found.verdict == "fail"
    assert found.finding.startswith("The pair loss, 1.02, is above that of a coin (0.69): it is surer than it is right")
    assert calibrated(scored([0.0] * 20)).verdict == "warn"


def test_a_function_claims_no_odds() -> None:
    pairs = scored([40.0] * 30 + [-40.0] * 30)
    assert calibration(pairs, card_of(pairs), log_odds=False).verdict == "not measured"


@pytest.mark.parametrize(("noise", "verdict"), [(0.5, "fail"), (1.2, "warn"), (4.0, "pass")])
def test_length_is_correlated_with_score_among_answers_to_one_prompt(noise: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    longer = rng.integers(-9, 10, 200)
    gaps = longer / longer.std() + noise * rng.standard_normal(200)
    pairs = scored(gaps.tolist(), longer.tolist())
    found = length_correlation(pairs, card_of(pairs))
    # Half of each difference stands on each side of its prompt's mean, so the correlation has no intercept.
    expected = (gaps @ longer) / np.sqrt((gaps @ gaps) * (longer @ longer))
    assert found.verdict == verdict
    assert measured(found)["within a prompt"] == pytest.approx(expected)
    told = longer != 0
    assert measured(found)["model prefers the longer"] == pytest.approx(((gaps * longer)[told] > 0).mean())
    assert measured(found)["people prefer the longer"] == pytest.approx((longer[told] > 0).mean())


def test_with_one_prompt_it_is_the_correlation_over_all() -> None:
    pairs = scored([1.0, -2.0, 0.5] * 10, prompts=["only"] * 30)
    scores, lengths = (pairs.chosen.scores, [0.0] * 30), (pairs.chosen.lengths, [10] * 30)
    expected = stats.pearsonr(np.concatenate(scores), np.concatenate(lengths))
    found = length_correlation(pairs, card_of(pairs))
    assert measured(found)["within a prompt"] == pytest.approx(expected.statistic)
    assert found.measures[0].ci95 == pytest.approx(tuple(expected.confidence_interval()))


def test_answers_that_do_not_differ_have_no_correlation() -> None:
    level = scored([1.0] * 30, longer=[0] * 30)
    assert length_correlation(level, card_of(level)).verdict == "not measured"
