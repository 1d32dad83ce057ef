import re

import pytest

from truing.worlds.language import ASPECTS, STRAY, VALENCE, clause_pattern, openings, subject
from truing.worlds.writing import Chance, Kind, review

KINDS: tuple[Kind, ...] = ("plain", "flat", "rambling", "repetitive")


def written(kind: Kind, count: int = 500) -> list[tuple[str, list[str]]]:
    """Openings, and the clauses of their reviews."""
    asked = [openings()[index * 7 % len(openings())] for index in range(count)]
    texts = [review(prompt, kind, Chance(1, "test", index)) for index, prompt in enumerate(asked)]
    assert all(text.endswith(" .") for text in texts)
    return [(p, re.split(r" \. | and | but ", text.removesuffix(" ."))) for p, text in zip(asked, texts, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_clause_is_good_grammar(kind: Kind) -> None:
    assert [c for _, clauses in written(kind) for c in clauses if not clause_pattern().fullmatch(c)] == []


@pytest.mark.parametrize("kind", ["plain", "flat"])
def test_a_sober_review_keeps_to_its_subject_and_says_nothing_twice(kind: Kind) -> None:
    for prompt, clauses in written(kind):
        product, _ = subject(prompt)
        assert product is not None
        assert 1 <= len(clauses) <= 4
        assert not set(clauses) & set(STRAY)
        words = " ".join(clauses).split()
        others = {aspect for own in ASPECTS.values() for aspect in own} - set(ASPECTS[product])
        assert not set(words) & (others | (set(ASPECTS) - {product}))
        judgements = [word for word in words if word in VALENCE or word in ASPECTS[product]]
        assert len(set(judgements)) == len(judgements)


def test_the_rambling_leave_the_subject_and_the_repetitive_say_a_clause_again() -> None:
    assert all(clauses[-1] in STRAY for _, clauses in written("rambling"))
    assert all(clauses.count(clauses[-1]) > 1 for _, clauses in written("repetitive"))


def test_a_judgement_that_turns_is_joined_by_but_and_none_that_does_not() -> None:
    texts = [review(openings()[0], "plain", Chance(2, "test", index)) for index in range(500)]
    sentences = [re.split(" (and|but) ", one) for text in texts for one in text.removesuffix(" .").split(" . ")]
    joined = [sentence for sentence in sentences if len(sentence) > 1]
    for before, join, after in joined:
        turned = VALENCE.get(before.split()[-1], 0) * VALENCE.get(after.split()[-1], 0) < 0
        assert join == ("but" if turned else "and")
    assert {join for _, join, _ in joined} == {"and", "but"}


def test_chance_weighs() -> None:
    counts = {"often": 0, "seldom": 0, "never": 0}
    for index in range(2000):
        counts[Chance(3, "test", index).weigh({"often": 3.0, "seldom": 1.0, "never": 0.0})] += 1
    assert counts["never"] == 0
    assert counts["seldom"] == pytest.approx(500, abs=4 * (2000 * 0.25 * 0.75) ** 0.5)
