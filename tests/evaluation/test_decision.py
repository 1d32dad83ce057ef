"""What may be decided on the evaluations so far; what a stage does about it is in tests/stages/test_decisions.py."""

from dataclasses import FrozenInstanceError

import pytest

from truing.evaluation.decision import Decide, Evaluation, GoOn, RollBack, Stop, always_go_on


def _history(*scores: float) -> list[Evaluation]:
    return [Evaluation(step, {"heldout_score": score}) for step, score in enumerate(scores)]


def test_without_a_guard_evaluations_change_nothing() -> None:
    decide: Decide = always_go_on
    assert decide(_history(1.0)) == decide(_history(9.0, -5.0)) == GoOn(pin=False)


def test_decisions_are_plain_values() -> None:
    assert Stop("the judge fell") == Stop("the judge fell") != Stop("kl")
    assert RollBack("kl", beta=0.5) != RollBack("kl", beta=1.0)
    decision = RollBack("kl", beta=0.5)
    with pytest.raises(FrozenInstanceError):
        decision.beta = 1.0  # type: ignore[misc]
