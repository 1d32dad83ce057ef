import pytest

from truing.evaluation.drift import drift_warnings

CALM = {
    "length": 20.0,
    "eos_rate": 0.97,
    "distinct_2": 0.6,
    "entropy": 2.0,
    "kl": 0.1,
    "score": 0.0,
    "judge_gold": 0.3,
}


def test_a_calm_run_has_no_warnings():
    assert drift_warnings(CALM, CALM | {"score": 0.8, "judge_gold": 0.9, "kl": 4.0, "length": 25.0}) == []


@pytest.mark.parametrize(
    ("key", "at_threshold", "short_of_it", "phrase"),
    [
        ("length", 10.0, 10.1, "shrank from 20.0 to 10.0 tokens"),
        ("length", 30.0, 29.9, "grew from 20.0 to 30.0 tokens"),
        ("eos_rate", 0.89, 0.9, "Only 89% of the responses end by themselves (at the start 97%)"),
        ("distinct_2", 0.3, 0.31, "distinct word pairs fell from 0.60 to 0.30"),
        ("entropy", 0.49, 0.5, "Entropy collapsed from 2.00 to 0.49"),
        ("kl", -1.01, -1.0, "negative (-1.0 nats"),
        ("kl", 20.1, 20.0, "20.1 nats a sequence"),
    ],
)
def test_each_threshold_warns_alone_and_only_when_crossed(key, at_threshold, short_of_it, phrase):
    (sentence,) = drift_warnings(CALM, CALM | {key: at_threshold})
    assert phrase in sentence
    assert drift_warnings(CALM, CALM | {key: short_of_it}) == []


def test_responses_that_do_not_end_are_told_with_what_to_change():
    assert drift_warnings(CALM, CALM | {"eos_rate": 0.0}) == []  # a finding, told with its cause
    (sentence,) = drift_warnings(CALM, CALM | {"eos_rate": 0.3})
    assert "rollout.max_new_tokens" in sentence
    assert "rewards.missing_eos.value" in sentence


def test_an_eos_rate_that_rose_much_is_named_as_well():
    (sentence,) = drift_warnings(CALM | {"eos_rate": 0.5}, CALM)
    assert "moved to 97% (at the start 50%)" in sentence


def test_a_judge_that_falls_while_the_score_rises_is_reward_hacking():
    last = CALM | {"score": 1.0, "judge_gold": 0.1}
    (sentence,) = drift_warnings(CALM, last)
    assert "Judge gold fell from 0.30 to 0.10 while the score rose from 0.00 to 1.00" in sentence
    assert drift_warnings(CALM, last | {"score": -1.0}) == [], "a judge may follow a falling score"
    assert drift_warnings(CALM, last, {"judge_gold": 0.25}) == [], "a fall within its interval is noise"
    assert drift_warnings(CALM, last, {"score": 1.5}) == [], "and so is a rise"
    heldout = {"heldout_score": 0.5}, {"heldout_score": 0.4}
    assert drift_warnings(CALM | heldout[0], last | heldout[1]) == [], "the held-out score goes before the other"


def test_missing_metrics_are_not_compared():
    assert drift_warnings({}, CALM) == []
    assert drift_warnings(CALM, {}) == []
    assert len(drift_warnings({}, {"eos_rate": 0.2, "kl": -5.0})) == 2, "these two need no start"


def test_what_stands_still_has_neither_fallen_nor_risen() -> None:
    assert drift_warnings({"score": 0.0, "judge_x": 1.0}, {"score": 1.0, "judge_x": 1.0}) == []
    assert drift_warnings({"score": 1.0, "judge_x": 1.0}, {"score": 1.0, "judge_x": 0.0}) == []
