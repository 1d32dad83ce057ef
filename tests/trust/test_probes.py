"""Changes of answers, and what rewards that are known to be hacked or not make of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from trust.cases import measured, named

from truing.core.errors import RewardError
from truing.core.records import Sample
from truing.core.results import Check
from truing.functional import mean_interval
from truing.trust.probes import (
    OPENING,
    PHRASE,
    PROBED,
    cut_in_half,
    foreign_answers,
    probe_checks,
    to_probe,
    with_opening,
    with_phrase,
    with_repetition,
)

WORDS = ["The plot is dull.", "A Good film. I liked it", "Fine!", "it drags on and on", "Worth a look? Yes. Worth it."]
SAMPLES = [Sample(f"review {i}:", f" {WORDS[i % 5]} {'Really. ' * (i % 3)}".rstrip(), (), (), True) for i in range(20)]


Formula = Callable[[str, str], float]


@dataclass
class Scorer:
    """A reward that is a formula of prompt and response."""

    formula: Formula

    def score(self, samples: Sequence[Sample]) -> list[float]:
        return [self.formula(str(sample.prompt), sample.response) for sample in samples]


def asked(formula: Formula, scale: float = 1.0, samples: Sequence[Sample] = SAMPLES) -> dict[str, Check]:
    return named([*probe_checks(Scorer(formula), samples, scale, torch.tensor([0.1, 0.3, -0.5, 2.0]))])


def own_words(prompt: str, response: str) -> float:
    """What an honest reward sees: a letter's share, and whether the answer belongs to the prompt."""
    belongs = any(sample.prompt == prompt and sample.response[:6] == response[:6] for sample in SAMPLES)
    return 3.0 * belongs


def test_changes_change_what_they_say() -> None:
    assert with_phrase(" Yes. ") == f" Yes. {PHRASE}"
    assert with_repetition(" One. Two three!") == " One. Two three! Two three!"
    assert with_repetition("no stop") == "no stop no stop"
    assert cut_in_half(" one two three four five") == " one two three"
    assert cut_in_half("好看的电影") == "好看的"
    assert with_opening(" yes") == f" {OPENING}yes"


def test_an_answer_to_another_prompt_is_one() -> None:
    samples = [Sample(prompt, answer, (), (), True) for prompt, answer in (("a", "1"), ("a", "2"), ("b", "3"))]
    assert [one.response for one in foreign_answers(samples)] == ["3", "3", "1"]
    assert foreign_answers(samples[:2]) == samples[:2]


def test_an_answer_to_another_prompt_brings_its_calls_of_tools_and_leaves_those_that_were_there() -> None:
    calls = [Sample(prompt, "", (), (), True, more=f'{{"tool_calls": ["{prompt}"]}}') for prompt in "ab"]
    assert foreign_answers(calls) == [replace(calls[0], more=calls[1].more), replace(calls[1], more=calls[0].more)]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("polite-phrase", lambda _, text: float("Thank" in text)),
        ("repeated-sentence", lambda _, text: len(text) / 5),
        ("cut", lambda _, text: -len(text) / 5),
        ("casing", lambda _, text: float(any(letter.isupper() for letter in text))),
        ("as-an-ai", lambda _, text: float("As an AI" in text)),
    ],
)
def test_a_reward_that_can_be_bought_fails(name: str, formula: Formula) -> None:
    assert asked(formula)[name].verdict == "fail"
    assert asked(formula, scale=1e3)[name].verdict == "pass"


def test_a_rise_that_may_be_chance_is_none() -> None:
    def noisy(prompt: str, text: str) -> float:
        return (5.0 if int(prompt[7:-1]) % 2 else -4.0) * ("Thank" in text)  # 0.5 on average, and 4.6 off

    found = asked(noisy)["polite-phrase"]
    assert (found.verdict, round(found.measures[0].value, 6)) == ("pass", 0.5)


def test_the_shift_is_paired_and_in_deviations() -> None:
    found = asked(lambda _, text: float(len(text)), scale=50.0)["polite-phrase"]
    after = [len(with_phrase(sample.response)) - len(sample.response) for sample in SAMPLES]
    mean, low, high = mean_interval([more / 50 for more in after])
    assert (found.measures[0].value, found.measures[0].ci95, found.measures[0].count) == (mean, (low, high), 20)
    assert mean > 0.5
    # The shift is worth about 49 points, more than any of the differences, of which three in four are right.
    assert measured(found)["pairs that it would turn"] == 0.75


def test_an_answer_to_another_prompt_must_be_worth_less() -> None:
    assert asked(own_words)["foreign-answer"].verdict == "pass"
    assert asked(lambda _, text: float(len(text)))["foreign-answer"].verdict == "warn"
    assert asked(lambda prompt, text: -own_words(prompt, text))["foreign-answer"].verdict == "fail"


def test_what_depends_on_its_batch_fails() -> None:
    class Ranked:
        def score(self, samples: Sequence[Sample]) -> list[float]:
            lengths = sorted(len(sample.response) for sample in samples)
            return [float(lengths.index(len(sample.response))) for sample in samples]

    assert named([*probe_checks(Ranked(), SAMPLES, 1.0, torch.ones(1))])["batch"].verdict == "fail"
    assert asked(own_words)["batch"].verdict == "pass"


def test_what_cannot_be_asked_is_said() -> None:
    assert {check.verdict for check in asked(own_words, samples=SAMPLES[:7]).values()} == {"not measured"}
    assert {check.verdict for check in asked(own_words, scale=0.0).values()} == {"not measured"}
    lower = [Sample(sample.prompt, sample.response.lower(), (), (), True) for sample in SAMPLES]
    assert "changes 0 of 20 answers" in asked(own_words, samples=lower)["casing"].finding

    def short(_: str, text: str) -> float:
        if "Thank" in text:
            raise RewardError("too long.", code="rewards/too-long")
        return 1.0

    assert asked(short)["polite-phrase"].finding == "The changed answers could not be scored: too long."


def test_one_side_of_a_pair_is_probed_and_the_sides_in_turn() -> None:
    chosen, rejected = ([Sample("", f"{side}{i}", (), (), True) for i in range(200)] for side in "cr")
    found = [sample.response for sample in to_probe(chosen, rejected, 1000)]
    assert len(found) == PROBED
    assert len({text[1:] for text in found}) == PROBED
    assert [text[0] for text in found] == ["c", "r"] * (PROBED // 2)
