"""What is held out beside what was learnt, at the figures where it begins to be told."""

from typing import Any

import pytest
from trust.cases import measured

from truing.core.results import PairCard, read
from truing.trust.overfitting import overfitting


def _card(accuracy: float) -> PairCard:
    return read(PairCard, {"heldout_accuracy": accuracy, "heldout_accuracy_ci95": [accuracy - 0.05, accuracy + 0.05]})


def _rows(*accuracies: float, losses: tuple[float, ...] = (0.6,)) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"accuracy": accuracy} for accuracy in accuracies]
    for row, loss in zip(rows[-len(losses) :], losses, strict=True):
        row["heldout_loss"] = loss
    return rows


@pytest.mark.parametrize(
    ("last", "losses", "verdict"),
    [
        (0.82, (0.6,), "pass"),
        (0.83, (0.6,), "warn"),
        (0.89, (0.6,), "warn"),
        (0.91, (0.6,), "fail"),
        (0.75, (0.55, 0.5, 0.54), "pass"),
        (0.75, (0.55, 0.5, 0.56), "warn"),
    ],
)
def test_pairs_that_are_learnt_by_heart_are_told(last: float, losses: tuple[float, ...], verdict: str) -> None:
    found = overfitting(_rows(0.5, 0.6, last, last, losses=losses), passes=2, card=_card(0.75))
    assert found.verdict == verdict
    assert (f"{last:.0%} of the last pairs" in found.finding, "75% of those held out" in found.finding) == (True, True)
    assert ("by heart" in found.finding) == (verdict == "fail")


def test_the_curve_has_the_quarters_of_the_first_pass_and_each_later_pass() -> None:
    first, second = [0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8], [0.9] * 4 + [1.0] * 4
    found = overfitting(_rows(*first, *second), passes=2, card=_card(0.75))
    curve = {name: value for name, value in measured(found).items() if name.startswith("pass")}
    quarters = [pytest.approx(value) for value in (0.5, 0.6, 0.7, 0.8)]
    assert [*curve.values()] == [*quarters, pytest.approx(0.95)]
    assert "Of pairs met for the first time, 50% in the first quarter and 80% in the last." in found.finding
