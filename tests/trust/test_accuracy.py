"""Whether pairs are ranked as people did: beside simple rules, and on each part of the pairs."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from trust.cases import card_of, measured, named, scored

from truing.core.results import Check
from truing.functional import wilson_interval
from truing.trust.accuracy import accuracy_checks
from truing.trust.bag_of_words import TextPairs, cross_validated_margins, word_margins
from truing.trust.pairs import ScoredPairs


def checks_of(pairs: ScoredPairs, rival: torch.Tensor | None = None) -> dict[str, Check]:
    return named([*accuracy_checks(pairs, card_of(pairs), rival, "not asked.")])


@pytest.mark.parametrize(("right", "verdict"), [(23, "fail"), (33, "pass"), (10, "fail")])
def test_a_model_must_be_clear_of_chance(right: int, verdict: str) -> None:
    found = checks_of(scored([1.0] * right + [-1.0] * (50 - right)))["accuracy"]
    assert found.verdict == verdict
    assert (found.measures[0].value, found.measures[0].ci95) == (right / 50, wilson_interval(right, 50))
    assert ("swapped" in found.finding) == (right == 10)


def test_a_model_must_beat_the_ruler_and_is_warned_of_where_word_counts_do_as_well() -> None:
    gaps = [1.0] * 30 + [-1.0] * 10
    ruled = checks_of(scored(gaps, longer=[1] * 30 + [-1] * 10), torch.tensor(gaps))
    assert (ruled["longer-wins"].verdict, ruled["bag-of-words"].verdict) == ("fail", "warn")
    free = checks_of(scored(gaps, longer=[1] * 29 + [-1] * 11), torch.tensor([*gaps[1:], -1.0]))
    assert (free["longer-wins"].verdict, free["bag-of-words"].verdict) == ("pass", "pass")
    assert checks_of(scored(gaps))["bag-of-words"].finding == "not asked."


@pytest.mark.parametrize("name", ["bag-of-words", "longer-wins"])
@pytest.mark.parametrize(("won", "lost", "told"), [(24, 22, True), (24, 0, False), (22, 24, False)])
def test_a_lead_that_may_be_chance_is_told_as_that(name: str, won: int, lost: int, told: bool) -> None:
    """Of 200 pairs it is right and the rule wrong on so many, and the other way round on so many."""
    own = [1.0] * won + [-1.0] * lost + [1.0] * (200 - won - lost)
    rule = [-1] * won + [1] * lost + [1] * (200 - won - lost)
    found = checks_of(scored(own, longer=rule), torch.tensor(rule))[name]
    assert ("may be chance" in found.finding) == told
    if told:  # by McNemar's table: the differences are 1, -1 and 0
        lead, spread = (won - lost) / 200, np.std([1] * won + [-1] * lost + [0] * (200 - won - lost), ddof=1)
        low, high = (100 * (lead + sign * 1.959964 * spread / np.sqrt(200)) for sign in (-1, 1))
        assert f"by {100 * lead:.1f} points [{low:.1f}, {high:.1f}], which may be chance." in found.finding


@pytest.mark.parametrize(
    ("signs", "verdict", "shares"),
    [
        ([1, -1] * 5 + [1] * 20, "pass", [0.5, 1.0, 1.0]),
        ([1] * 20 + [1, -1, 1, 1, 1, 1, 1, 1, 1, 1], "warn", [1.0, 1.0, 0.9]),
        ([1] * 20 + [1, -1] * 5, "fail", [1.0, 1.0, 0.5]),
    ],
)
def test_large_differences_must_be_right_more_often_than_small_ones(
    signs: list[int], verdict: str, shares: list[float]
) -> None:
    found = checks_of(scored([sign * (place + 1.0) for place, sign in enumerate(signs)]))["margin"]
    assert found.verdict == verdict
    assert [measure.value for measure in found.measures] == pytest.approx(shares)


@pytest.mark.parametrize(
    ("longer_right", "shorter_right", "verdict"), [(35, 35, "pass"), (38, 28, "warn"), (40, 5, "fail"), (5, 40, "fail")]
)
def test_it_must_be_right_whichever_side_was_longer(longer_right: int, shorter_right: int, verdict: str) -> None:
    gaps = [1.0] * longer_right + [-1.0] * (40 - longer_right) + [1.0] * shorter_right + [-1.0] * (40 - shorter_right)
    found = checks_of(scored(gaps, longer=[3] * 40 + [-3] * 40))["length"]
    assert found.verdict == verdict
    assert [measure.value for measure in found.measures] == [longer_right / 40, shorter_right / 40]
    assert checks_of(scored(gaps[:59], longer=[3] * 40 + [-3] * 19))["length"].verdict == "not measured"


@pytest.mark.parametrize(("right", "verdict"), [(24, "pass"), (14, "warn"), (5, "fail")])
def test_a_source_that_stands_out_is_named(right: int, verdict: str) -> None:
    gaps = [1.0] * 90 + [-1.0] * 10 + [1.0] * right + [-1.0] * (30 - right)
    pairs = scored(gaps, sources=["books"] * 100 + ["forum"] * 30)
    found = checks_of(pairs)["source"]
    assert found.verdict == verdict
    assert f"least often on forum: {right / 30:.1%}" in found.finding
    assert checks_of(scored(gaps))["source"].finding == "No row says its `source`."
    assert checks_of(scored(gaps, sources=["a", "b"] * 5 + [""] * 120))["source"].verdict == "not measured"


def test_few_pairs_are_not_parted() -> None:
    found = checks_of(scored([1.0] * 19))
    assert [found[name].verdict for name in ("margin", "length", "source")] == ["not measured"] * 3


def test_few_pairs_are_not_told_from_a_coin() -> None:
    found = checks_of(scored([1.0] * 3), torch.ones(3))
    for name in ("accuracy", "longer-wins", "bag-of-words"):
        assert (found[name].verdict, found[name].finding) == ("not measured", "3 pairs are too few to tell.")
    enough = checks_of(scored([1.0] * 20), torch.ones(20))
    assert enough["accuracy"].verdict == "pass"


GOOD, BAD = ["good film", "a great cast!", "good plot", "great, good"], ["bad film", "a poor cast", "bad plot!", "poor"]


def test_the_bag_of_words_is_logistic_regression_on_differences() -> None:
    learnt, asked = TextPairs(GOOD, BAD), TextPairs(["good cast", "poor film"], ["bad cast", "great film"])
    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True).fit(GOOD + BAD)
    rows = (words.transform(GOOD) - words.transform(BAD)).toarray()
    # without an intercept, a row with its label is the turned row with the other
    model = LogisticRegression(C=5.0, fit_intercept=False, tol=1e-8).fit(np.vstack([rows, -rows]), [1] * 4 + [0] * 4)
    expected = model.decision_function((words.transform(asked.chosen) - words.transform(asked.rejected)).toarray())
    assert word_margins(learnt, asked).tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert [margin > 0 for margin in expected] == [True, False]


def test_cross_validation_never_asks_of_a_prompt_that_it_learnt() -> None:
    """Words that only pairs of one prompt have tell nothing of it, so every margin is 0."""
    texts = TextPairs([f"good{place // 2}" for place in range(20)], [f"bad{place // 2}" for place in range(20)])
    prompts = [place // 2 for place in range(20)]
    assert cross_validated_margins(texts, prompts).tolist() == [0.0] * 20
    assert cross_validated_margins(TextPairs(GOOD * 5, BAD * 5), [0] * 20).min() > 0


def test_measures_have_names() -> None:
    found = checks_of(scored([1.0] * 30))
    assert [*measured(found["margin"])] == ["least sure third", "middle third", "surest third"]
