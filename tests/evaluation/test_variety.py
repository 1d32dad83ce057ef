"""Answers that grew alike, against counts by hand and the collapse that was met in the field."""

import random

import pytest

from truing.evaluation.variety import distinct_words, shared_phrases, signs_of_likeness

WORDS = [f"word{number}" for number in range(536)]


def _answers(chance: random.Random, vocabulary: list[str], count: int = 64, length: int = 30) -> list[str]:
    """Answers that use each word of the vocabulary, none much more often than others."""
    words = [vocabulary[place % len(vocabulary)] for place in range(count * length)]
    chance.shuffle(words)
    return [" ".join(words[place * length : (place + 1) * length]) for place in range(count)]


def test_words_are_counted_over_all_answers_whatever_their_case() -> None:
    assert distinct_words(["A bird sang.", "a Bird, a cat"]) == 4  # a, bird, sang, cat


def test_signs_of_a_script_without_spaces_are_words() -> None:
    assert distinct_words(["鸟在唱", "鸟在"]) == 3


def test_shared_phrases_are_what_another_answer_at_random_has_too() -> None:
    # Phrases: {a b, b c}, {a b, b d}, {e f}. Of 5, the two 'a b' have 1 of 2 others each: 2 / (2 · 5).
    assert shared_phrases(["a b c", "a b d", "e f"]) == pytest.approx(0.2)
    assert shared_phrases(["a b c"] * 5) == 1.0
    assert shared_phrases(["", "a"]) == 0.0


def test_the_collapse_met_in_the_field_is_seen() -> None:
    # Mentions of one word went from 1 to 61 of 64 answers, distinct words from 536 to 208.
    chance = random.Random(0)
    before = _answers(chance, WORDS)
    before[0] += " bird"
    after = [f"{answer} bird" if place < 61 else answer for place, answer in enumerate(_answers(chance, WORDS[:208]))]
    signs = signs_of_likeness(before, after)
    assert signs == [
        "distinct words over all of them fell from 537 to 209",
        "'bird' stands in 61 of 64, at the start in 1",
    ]


def test_one_opening_for_everybody_is_seen_though_the_words_stay() -> None:
    chance = random.Random(1)
    before = _answers(chance, WORDS, length=10)
    after = [f"i love this so very much and {answer}" for answer in _answers(chance, WORDS, length=10)]
    (phrases, word) = signs_of_likeness(before, after)
    assert "share 38% of their phrases, at the start 0%" in phrases  # 6 of 16, but for chance
    assert word.endswith("stands in 64 of 64, at the start in 0")


def test_a_rule_that_is_followed_in_many_words_is_no_collapse() -> None:
    # Half of the words are left out of use, and one of ten animals is in each answer.
    chance = random.Random(2)
    animals = [f"animal{number}" for number in range(10)]
    after = [f"{answer} {chance.choice(animals)}" for answer in _answers(chance, WORDS[:350])]
    assert signs_of_likeness(_answers(chance, WORDS), after) == []


def test_few_answers_say_nothing() -> None:
    assert signs_of_likeness(["a b c d", "e f g h"], ["a b", "a b"]) == []
