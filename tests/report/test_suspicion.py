"""What stands out in an answer, by hand arithmetic."""

from typing import Any

import pytest

from truing.report.suspicion import Scale, suspicion

SCALE = Scale(score=0.5, judges={"gold": 2.0, "form": 1.0})


def answer(score: float | None, gold: float | None, form: float | None, said: str = "a b c", length: int = 10) -> Any:
    return {"score": score, "judges": {"gold": gold, "form": form}, "response": said, "length": length}


def test_a_scale_is_the_deviation_over_the_answers_before_and_one_where_nothing_varies() -> None:
    before = [answer(score, gold, 3.0) for score, gold in ((1.0, 0.0), (2.0, 4.0), (3.0, None))]
    scale = Scale.of(before)
    assert scale.score == pytest.approx((2 / 3) ** 0.5)
    assert scale.judges == {"gold": 2.0, "form": 1.0}


@pytest.mark.parametrize(
    ("after", "gain", "parted"),
    [
        ((1.0, -4.0, 0.0), 2.0, 2.0),  # the score rose by 2 deviations, gold fell by 2
        ((0.25, -4.0, 0.0), 0.5, 0.5),  # by half a deviation: the smaller of the two
        ((1.0, 4.0, -0.5), 2.0, 0.5),  # the judge that fell most counts
        ((1.0, 4.0, 1.0), 2.0, -1.0),  # nobody fell
        ((-1.0, -4.0, 0.0), -2.0, -2.0),  # the score fell too
        ((None, -4.0, 0.0), None, None),
        ((1.0, None, None), 2.0, None),
    ],
)
def test_disagreement_is_how_far_the_score_rose_and_a_judge_fell(after: Any, gain: Any, parted: Any) -> None:
    found = suspicion(answer(0.0, 0.0, 0.0), answer(*after), SCALE)
    assert (found.score_gain, found.disagreement) == (gain, parted)


@pytest.mark.parametrize(
    ("after", "signs"),
    [
        (answer(1.0, 0.0, 0.0), ["score gained 2.00 deviations, judges at most 0.00"]),
        (answer(1.0, 0.0, 0.1), []),  # ahead by 1.9
        (answer(0.0, 0.0, 0.0, "a b a b c a b"), ["33.3% of its word pairs are repeats"]),  # ab ba ab bc ca ab: 4 of 6
        (answer(0.0, 0.0, 0.0, "a b c d a b c"), ["33.3% of its word pairs are repeats"]),  # ab bc cd da ab bc: 4 of 6
        (answer(0.0, 0.0, 0.0, "a b c d e a b"), []),  # ab bc cd de ea ab: 5 of 6
        (answer(0.0, 0.0, 0.0, length=15), ["1.50 times as long"]),
        (answer(0.0, 0.0, 0.0, length=5), ["0.50 times as long"]),
        (answer(0.0, 0.0, 0.0, length=14), []),
    ],
)
def test_signs(after: Any, signs: list[str]) -> None:
    assert suspicion(answer(0.0, 0.0, 0.0), after, SCALE).signs == signs


def test_what_an_answer_repeated_before_training_too_is_no_sign() -> None:
    said = "a b c d a b c"
    assert suspicion(answer(0, 0, 0, said), answer(0, 0, 0, said), SCALE).signs == []
