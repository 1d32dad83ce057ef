"""Whether a reward model is worth learning from, against Wilson's interval."""

import pytest

from truing.core.results import PairCard, read
from truing.core.soundness import card_in_words, clear_of_chance, unsound
from truing.functional import wilson_interval


def _card(right: int, pairs: int, longer: float = 0.5) -> PairCard:
    row = {"heldout_accuracy": right / pairs, "heldout_pairs": pairs, "longer_wins_accuracy": longer}
    return read(PairCard, row | {"heldout_accuracy_ci95": list(wilson_interval(right, pairs))})


@pytest.mark.parametrize(
    ("right", "pairs", "longer", "reasons"),
    [
        (23, 50, 0.4, ["not clear of chance"]),
        (23, 50, 0.52, ["not clear of chance", "no better than preferring the longer response"]),
        (70, 100, 0.7, ["no better than preferring the longer response"]),
        (70, 100, 0.69, []),
        (14, 20, 0.5, ["not clear of chance"]),
        (15, 20, 0.5, []),
        (3, 3, 0.5, ["not clear of chance"]),
    ],
)
def test_a_model_is_sound_if_it_beats_chance_and_length(
    right: int, pairs: int, longer: float, reasons: list[str]
) -> None:
    assert unsound(_card(right, pairs, longer)) == reasons


def test_a_card_without_an_accuracy_says_nothing_against_a_model() -> None:
    assert unsound(read(PairCard, {})) == []


@pytest.mark.parametrize("pairs", [1, 3, 4, 20, 50, 51, 200, 1999])
def test_what_is_clear_of_chance_is_what_wilsons_interval_says(pairs: int) -> None:
    for right in range(pairs + 1):
        assert (wilson_interval(right, pairs)[0] > 0.5) == (right / pairs > clear_of_chance(pairs))


def test_a_card_is_told_with_its_interval_and_its_rival() -> None:
    # Wilson's interval of 23 of 50, by hand: 0.33 to 0.596.
    assert card_in_words(_card(23, 50, 0.52)) == "46% of 50 held-out pairs right [33%, 60%], 'longer wins' 52%"
