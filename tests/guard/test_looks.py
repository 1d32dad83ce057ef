"""What the guard decides, from outcomes that are made up."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from truing.config.judging import Guard as Settings
from truing.evaluation.decision import Decision, Evaluation, GoOn, RollBack, Stop
from truing.guard.ledger import Ledger
from truing.guard.looks import Guard, State

UPDATES = 12
PROMPTS = [f"prompt {number}" for number in range(64)]


class _Better:
    """Finds an answer better by the number it ends with, of as many as it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def judge(self, look: int, questions: Any) -> dict[str, float]:
        self.asked.append(len(questions))
        worth = [(float(one.first.split()[-1]), float(one.second.split()[-1]), one.id) for one in questions]
        return {name: 0.5 if first == second else float(first > second) for first, second, name in worth}


def _decisions(
    worth: Sequence[float], tmp_path: Any, kl: float = 1.0, **settings: Any
) -> tuple[list[Decision], Guard, _Better, list[str]]:
    """At each third update, of policies that are worth so much; training does not really go back."""
    judge, told = _Better(), []
    answers = {
        3 * n: [{"prompt": p, "response": f"{3 * n}: {w}"} for p in PROMPTS] for n, w in enumerate((0.0, *worth))
    }
    own = Settings(**{"mode": "rollback", "labels": 128, "look_every": 3} | settings)
    ledger = Ledger(tmp_path / "judgements.jsonl", judge)
    guard = Guard(own, UPDATES, (17, PROMPTS), ledger, answers.__getitem__, told.append, State(beta=0.0))
    decided = []
    for step in range(3, 3 * len(worth) + 1, 3):
        decided.append(guard.decide([Evaluation(step, {"heldout_kl": kl})]))
        if isinstance(decided[-1], Stop | RollBack):
            break
    return decided, guard, judge, told


def test_a_policy_that_gets_better_is_kept_at_each_look(tmp_path: Any) -> None:
    decided, guard, judge, _ = _decisions([1, 2, 3, 4], tmp_path)
    assert decided == [GoOn(pin=True)] * 4
    assert (guard.result().guard_kept_step, guard.result().guard_story) == (12, [])
    assert judge.asked == [32, 32, 32, 32]


def test_one_that_gets_worse_goes_back_to_the_best_and_is_held_more_firmly(tmp_path: Any) -> None:
    decided, guard, _, told = _decisions([1, 2, 1, 0], tmp_path)
    assert decided[:2] == [GoOn(pin=True)] * 2
    assert isinstance(decided[2], RollBack)
    assert decided[2].beta == 0.1
    assert told == ["judges find the answers of step 9 worse than those of step 6; on from step 6 at beta 0.1"]
    assert (guard.state.parent, guard.state.turns) == (2, 1)


def test_beta_is_trebled_where_that_is_more(tmp_path: Any) -> None:
    judge = _Better()
    answers = {step: [{"prompt": p, "response": f"{step}: {-step}"} for p in PROMPTS] for step in (0, 3)}
    ledger = Ledger(tmp_path / "judgements.jsonl", judge)
    state = State(beta=0.2)
    guard = Guard(Settings(mode="rollback"), UPDATES, (17, PROMPTS), ledger, answers.__getitem__, str, state)
    decision = guard.decide([Evaluation(3, {"heldout_kl": 1.0})])
    assert isinstance(decision, RollBack)
    assert decision.beta == pytest.approx(0.6)


def test_no_more_often_than_it_may(tmp_path: Any) -> None:
    answers = {step: [{"prompt": p, "response": f"{step}: {-step}"} for p in PROMPTS] for step in (0, 3)}
    ledger, state = Ledger(tmp_path / "judgements.jsonl", _Better()), State(beta=0.2, turns=2)
    guard = Guard(Settings(mode="rollback"), UPDATES, (17, PROMPTS), ledger, answers.__getitem__, str, state)
    decision = guard.decide([Evaluation(3, {"heldout_kl": 1.0})])
    assert isinstance(decision, Stop)
    assert decision.keeps_pinned


@pytest.mark.parametrize(("mode", "kind"), [("warn", GoOn), ("stop", Stop)])
def test_what_is_done_about_a_turn_is_the_recipes_to_say(mode: str, kind: type, tmp_path: Any) -> None:
    decided, guard, _, told = _decisions([2, 0, 0, 0], tmp_path, mode=mode)
    assert isinstance(decided[1], kind)
    assert len(told) == 1
    assert guard.result().guard_kept_step == (12 if mode == "warn" else 3)


def test_doubtful_judgements_turn_nothing_and_choose_the_best_at_the_end(tmp_path: Any) -> None:
    """Losses of a little more than half are no evidence yet, and yet the last step is not the best."""

    class _Doubtful(_Better):
        def judge(self, look: int, questions: Any) -> dict[str, float]:
            wins = [number < (0.8 if look < 3 else 0.4) * len(questions) for number in range(len(questions))]
            pairs = zip(questions, wins, strict=True)
            return {one.id: float(one.newer_is_first == won) for one, won in pairs}

    answers = {step: [{"prompt": p, "response": f"{step}"} for p in PROMPTS] for step in range(0, 13, 3)}
    ledger = Ledger(tmp_path / "judgements.jsonl", _Doubtful())
    guard = Guard(Settings(mode="rollback"), UPDATES, (17, PROMPTS), ledger, answers.__getitem__, str, State(0.0))
    decided = [guard.decide([Evaluation(step, {"heldout_kl": 1.0})]) for step in (3, 6, 9, 12)]
    assert decided[:3] == [GoOn(pin=True), GoOn(pin=True), GoOn(pin=False)]
    assert isinstance(decided[3], Stop)
    assert decided[3].keeps_pinned
    assert guard.result().guard_kept_step == 6


@pytest.mark.parametrize(
    ("mode", "kl", "turns", "kinds"),
    [
        ("rollback", 5.5, 0, [GoOn, GoOn, RollBack]),
        ("rollback", 4.5, 0, [GoOn, GoOn, GoOn]),
        ("rollback", 5.5, 2, [GoOn, GoOn, GoOn]),
        ("stop", 5.5, 0, [GoOn, GoOn, GoOn]),
    ],
    ids=["far away", "near", "went back too often", "would end"],
)
def test_far_from_the_reference_a_suspicion_is_enough_to_go_back(
    mode: Any, kl: float, turns: int, kinds: list[type], tmp_path: Any
) -> None:
    """Thirty losses of forty after two good looks: worse by a chance of 98%, and evidence of 12 where proof is 60."""

    class _Suspicious(_Better):
        def judge(self, look: int, questions: Any) -> dict[str, float]:
            wins = [number % 4 == 0 if look == 3 else number % 4 > 0 for number in range(len(questions))]
            return {one.id: float(one.newer_is_first == won) for one, won in zip(questions, wins, strict=True)}

    answers = {step: [{"prompt": p, "response": f"{step}"} for p in PROMPTS] for step in range(0, 13, 3)}
    ledger, state = Ledger(tmp_path / "judgements.jsonl", _Suspicious()), State(0.0, turns=turns)
    settings = Settings(mode=mode, labels=160)
    guard = Guard(settings, UPDATES, (17, PROMPTS), ledger, answers.__getitem__, str, state)
    decided = [guard.decide([Evaluation(step, {"heldout_kl": kl})]) for step in (3, 6, 9)]
    assert [type(one) for one in decided] == kinds


@pytest.mark.parametrize(("kl", "kind"), [(5.5, RollBack), (4.5, GoOn)])
def test_a_policy_that_is_far_away_has_to_be_better_than_it_was(kl: float, kind: type, tmp_path: Any) -> None:
    """Judges who find all alike: no loss, and nothing to show either."""

    class _Undecided(_Better):
        def judge(self, look: int, questions: Any) -> dict[str, float]:
            return {one.id: 0.5 for one in questions}

    answers = {step: [{"prompt": p, "response": f"{step}"} for p in PROMPTS] for step in (0, 3)}
    ledger, told = Ledger(tmp_path / "judgements.jsonl", _Undecided()), []
    settings = Settings(mode="rollback")
    guard = Guard(settings, UPDATES, (17, PROMPTS), ledger, answers.__getitem__, told.append, State(0.0))
    assert isinstance(guard.decide([Evaluation(3, {"heldout_kl": kl})]), kind)
    no_better = "judges find the answers of step 3 no better than the first ones, at a KL of 5.5 nats"
    assert told == ([f"{no_better}; on from step 0 at beta 0.1"] if kind is RollBack else [])


def test_labels_are_spread_over_the_looks_that_are_left(tmp_path: Any) -> None:
    _, guard, judge, _ = _decisions([1, 2, 3, 4], tmp_path, labels=50)
    assert judge.asked == [12, 12, 13, 13]
    assert guard.result().guard_labels == 50


def test_the_result_has_the_strength_of_each_look_with_its_interval(tmp_path: Any) -> None:
    """One look of 32 judgements, all won, behind a step of 0.15·√3: its mode by bisection, its width by hand."""
    _, guard, _, _ = _decisions([1], tmp_path)
    (look,) = guard.result().guard_strengths or []
    assert (look.step, look.since, look.judgements, look.won) == (3, 0, 32, 32.0)
    variance, low, high = 3 * 0.15**2, 0.0, 9.0
    for _ in range(60):
        strength = (low + high) / 2
        chance = 1 / (1 + math.exp(-strength))
        low, high = (strength, high) if 32 * (1 - chance) > strength / variance else (low, strength)
    half = 1.959964 / (1 / variance + 32 * chance * (1 - chance)) ** 0.5
    assert look.strength == pytest.approx(strength, abs=1e-6)
    assert look.strength_ci95 == pytest.approx((strength - half, strength + half), abs=1e-5)


def test_a_look_tells_from_which_step_training_went_on_to_it(tmp_path: Any) -> None:
    decided, guard, _, _ = _decisions([1, 2, 1], tmp_path)
    assert isinstance(decided[-1], RollBack)
    assert [(look.since, look.step) for look in guard.result().guard_strengths or []] == [(0, 3), (3, 6), (6, 9)]
