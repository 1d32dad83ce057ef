"""What the guard does without a judge: alarms by their limits, told once, and never an end."""

from typing import Any

import pytest
from pydantic import ValidationError

from truing.config.judging import Guard as Settings
from truing.evaluation.decision import Decision, Evaluation, GoOn
from truing.guard.looks import State
from truing.guard.smoke import SmokeDetectors, alarms

START = {"heldout_kl": 0.0, "heldout_length": 20.0}


@pytest.mark.parametrize(
    ("kl", "length", "rings"),
    [
        (20.0, 20.0, []),
        (20.5, 20.0, ["KL is 20.5 nats, above 20"]),
        (3.0, 36.9, []),  # 1.845 times
        (3.0, 37.1, ["answers have 37.1 tokens, and had 20.0"]),  # 1.855 times
        (3.0, 10.9, []),  # a 1.83rd
        (3.0, 10.7, ["answers have 10.7 tokens, and had 20.0"]),  # a 1.87th
        (3.0, 0.0, ["answers have 0.0 tokens, and had 20.0"]),
        (30.0, 60.0, ["KL is 30.0 nats, above 20", "answers have 60.0 tokens, and had 20.0"]),
    ],
)
def test_alarms_ring_beyond_their_limits(kl: float, length: float, rings: list[str]) -> None:
    assert alarms(START, {"heldout_kl": kl, "heldout_length": length}) == rings


def _watched(mode: str, *kls: float) -> tuple[list[Decision], SmokeDetectors, list[str]]:
    """At each third of twelve updates, at these KLs."""
    told: list[str] = []
    settings = Settings.model_validate({"mode": mode, "judge": {"kind": "none"}})
    watch = SmokeDetectors(settings, 12, told.append, State(beta=0.05))
    history = [Evaluation(0, START)]
    decided = []
    for number, kl in enumerate(kls, start=1):
        history.append(Evaluation(3 * number, START | {"heldout_kl": kl}))
        decided.append(watch.decide(history))
    return decided, watch, told


def test_the_first_alarm_raises_beta_and_later_ones_do_not() -> None:
    decided, watch, told = _watched("rollback", 5.0, 21.0, 40.0, 80.0)
    assert decided == [GoOn(), GoOn(beta=pytest.approx(0.15)), GoOn(), GoOn()]
    assert told == ["smoke at step 6: KL is 21.0 nats, above 20; beta is 0.15 from here on"]
    result = watch.result()
    assert (result.guard_labels, result.guard_looks, result.guard_kept_step) == (0, 4, 12)
    assert result.guard_story is not None
    assert result.guard_story[:-1] == told
    assert result.guard_story[-1].startswith("no judge was asked")


def test_warn_only_says_it() -> None:
    decided, _, told = _watched("warn", 21.0, 40.0)
    assert decided == [GoOn(), GoOn()]
    assert told == ["smoke at step 3: KL is 21.0 nats, above 20"]


def test_between_looks_nothing_is_decided() -> None:
    watch = SmokeDetectors(Settings(mode="warn"), 12, str, State(beta=0.0))
    assert watch.decide([Evaluation(0, START), Evaluation(4, START | {"heldout_kl": 50.0})]) == GoOn()
    assert not watch.state.warned


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "stop", "judge": {"kind": "none"}}, "mode stop needs a judge"),
        ({"mode": "warn", "judge": {"kind": "none", "path": "rules.py:judge"}}, "kind none has no path"),
    ],
)
def test_what_needs_a_judge_is_refused_without_one(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate(settings)
