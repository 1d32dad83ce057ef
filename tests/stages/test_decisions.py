"""What is decided on an evaluation is done: training ends there, or goes back to the pinned step and on from it.

A kill at any moment around a decision changes nothing of what is left behind.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import tiny
import torch

from truing.config.recipe import Recipe
from truing.core.errors import InterruptedRunError, RunError
from truing.core.results import to_json
from truing.evaluation.decision import Decide, Decision, Evaluation, GoOn, RollBack, Stop, always_go_on
from truing.evaluation.heldout import HeldoutEvaluator
from truing.models.layout import PpoRoles, ppo_roles
from truing.models.save import save_adapter
from truing.runs.metrics import read_jsonl
from truing.stages.online import train_online
from truing.stages.ppo import ppo_objective
from truing.stages.update import Update
from truing.training.job import Job
from truing.training.journal import Journal

FIRM = 5.0
"""A price of a nat at which the policy hardly moves"""
Left = tuple[bytes, bytes, list[dict[str, Any]]]
CHANGES = {
    "rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}],
    "ppo.updates": 6,
    "ppo.optimiser.learning_rate": 1e-2,
    "evaluation.every": 2,
    "checkpoints.every_steps": 1,
    "checkpoints.keep_last": 1,
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny.recipe(tmp_path_factory.mktemp("recipe"), **CHANGES)


def _train(recipe: Recipe, place: Path, decide: Decide = always_go_on) -> tuple[Job, dict[str, Any]]:
    job = tiny.job(recipe, place, "ppo")
    return job, _go_on(job, ppo_roles(recipe, job.start, None), decide)


def _go_on(job: Job, roles: PpoRoles, decide: Decide) -> dict[str, Any]:
    return to_json(train_online(job, roles, ppo_objective(job.recipe, roles), decide))


def _left(job: Job) -> Left:
    """Weights, samples, and metrics without their times."""
    rows = [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_jsonl(job.directory.metrics)]
    return (job.directory.model / "model.safetensors").read_bytes(), job.directory.samples.read_bytes(), rows


def _at_first(step: int, decision: Decision) -> Decide:
    """Decides this the first time that a step is evaluated, and nothing otherwise."""
    left = [decision]
    return lambda history: left.pop() if left and history[-1].step == step else GoOn()


def test_a_decision_to_stop_ends_training_with_its_reason_and_that_steps_model(recipe: Recipe, tmp_path: Path) -> None:
    roles = ppo_roles(recipe, tiny.job(recipe, tmp_path / "whole", "ppo").start, None)

    def keeps(history: Sequence[Evaluation]) -> Decision:
        (tmp_path / str(history[-1].step)).mkdir()
        save_adapter(roles.policy, tmp_path / str(history[-1].step))
        return GoOn()

    whole = _go_on(tiny.job(recipe, tmp_path / "whole", "ppo"), roles, keeps)
    job, result = _train(recipe, tmp_path / "stopped", _at_first(4, Stop("the judge fell")))
    assert (whole["stopped_by"], whole["steps"]) == ("updates", 6)
    assert (result["stopped_by"], result["steps"], result["episodes"]) == ("the judge fell", 4, 32)
    assert [row["step"] for row in read_jsonl(job.directory.metrics)] == [0, 1, 2, 3, 4]
    weights = {step: (tmp_path / step / "adapter_model.safetensors").read_bytes() for step in ("2", "4", "6")}
    assert (job.directory.adapter / "adapter_model.safetensors").read_bytes() == weights["4"]
    assert len(set(weights.values())) == 3


def test_the_last_evaluation_may_be_decided_on_too(recipe: Recipe, tmp_path: Path) -> None:
    asked: list[int] = []

    def decide(history: Sequence[Evaluation]) -> Decision:
        asked.append(history[-1].step)
        return Stop("enough") if history[-1].step == 6 else GoOn()

    _, result = _train(recipe, tmp_path, decide)
    assert asked == [2, 4, 6]
    assert (result["stopped_by"], result["steps"]) == ("enough", 6)


def test_what_was_decided_on_can_be_read_again_from_the_samples(recipe: Recipe, tmp_path: Path) -> None:
    seen: list[list[Evaluation]] = []
    job, _ = _train(recipe, tmp_path, lambda history: (seen.append(list(history)), GoOn())[1])
    roles, lines = ppo_roles(recipe, job.start, None), read_jsonl(job.directory.samples)
    nothing: Any = []
    evaluator = HeldoutEvaluator(recipe, roles, nothing, job.prompts().heldout, nothing, lines)
    assert evaluator.history == seen[-1]
    rows = {row["step"]: row for row in read_jsonl(job.directory.metrics)}
    assert [one.step for one in seen[-1]] == [0, 2, 4, 6]
    assert all(rows[one.step].items() >= one.metrics.items() for one in seen[-1])


def _from_step_3_on(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates of a run that takes this β after the second, whatever it is told."""
    right = Update.run
    monkeypatch.setattr(Update, "run", lambda self, number, own: right(self, number, own if number < 3 else beta))


@pytest.fixture(scope="module")
def kls(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The held-out KL at the fourth step, left alone and held firmly from the third on."""
    found = {}
    for name in ("loose", "firm"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "firm":
                _from_step_3_on(FIRM, patch)
            job, _ = _train(recipe, tmp_path_factory.mktemp(name))
        found[name] = next(row["heldout_kl"] for row in read_jsonl(job.directory.metrics) if row["step"] == 4)
    assert found["firm"] < 0.9 * found["loose"]
    return found


@pytest.fixture(scope="module")
def guard(kls: dict[str, float]) -> Decide:
    """Pins the second step; goes back to it, to be held firmly, where the fourth has moved too far."""

    def decide(history: Sequence[Evaluation]) -> Decision:
        if history[-1].step == 4 and history[-1].metrics["heldout_kl"] > fmean(kls.values()):
            return RollBack("the KL ran away", beta=FIRM)
        return GoOn(pin=history[-1].step == 2)

    return decide


def test_going_back_is_a_run_that_took_the_other_beta_from_there_on(
    recipe: Recipe, guard: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: dict[str, Any] = {}

    def noted(name: str, right: Callable[..., None]) -> Callable[..., None]:
        def wrapped(journal: Journal, *given: Any) -> None:
            right(journal, *given)
            logs = [path.read_bytes() for path in (journal.job.directory.metrics, journal.job.directory.samples)]
            memory = json.loads(json.dumps(journal.memory))
            states[name] = (journal.step, memory, journal.rows[:], logs, journal.learner.tensors())

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "pin", noted("pinned", Journal.pin))
        patch.setattr(Journal, "roll_back", noted("back", Journal.roll_back))
        job, result = _train(recipe, tmp_path / "guarded", guard)
    with monkeypatch.context() as patch:
        _from_step_3_on(FIRM, patch)
        other, _ = _train(recipe, tmp_path / "other")
    *pinned, weights = states["pinned"]
    *back, restored = states["back"]
    assert pinned[0] == 2
    assert back == pinned
    assert all(torch.equal(restored[name], weights[name]) for name in weights.keys() | restored.keys())
    assert _left(job)[:2] == _left(other)[:2]
    betas = {row["step"]: row["beta"] for row in read_jsonl(job.directory.metrics) if "beta" in row}
    assert betas == {1: 0.05, 2: 0.05, 3: FIRM, 4: FIRM, 5: FIRM, 6: FIRM}
    assert (result["stopped_by"], result["steps"]) == ("updates", 6)


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, guard: Decide, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """What a run leaves that goes back once and is not killed."""
    job, _ = _train(recipe, tmp_path_factory.mktemp("undisturbed"), guard)
    return _left(job)


def test_there_is_no_going_back_where_nothing_is_pinned(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RunError) as refused:
        _train(recipe, tmp_path, _at_first(2, RollBack("kl", beta=FIRM)))
    assert str(refused.value.where).startswith(str(tmp_path))


class _Killed(BaseException):
    """Nothing catches a kill."""


def _kill(patch: pytest.MonkeyPatch, moment: str, owner: type, name: str) -> None:
    right = getattr(owner, name)

    def dying(*given: Any) -> None:
        if moment == "after":
            right(*given)
        raise _Killed

    patch.setattr(owner, name, dying)


MOMENTS = [(moment, name) for name in ("pin", "roll_back") for moment in ("before", "after")]


@pytest.mark.parametrize(("moment", "name"), MOMENTS)
def test_killed_around_a_decision_it_ends_as_if_it_had_not_been(
    moment: str,
    name: str,
    recipe: Recipe,
    guard: Decide,
    undisturbed: Left,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        _kill(patch, moment, Journal, name)
        with pytest.raises(_Killed):
            _train(recipe, tmp_path / "killed", guard)
    job, _ = _train(recipe, tmp_path / "killed", guard)
    assert _left(job) == undisturbed


@pytest.mark.parametrize("signalled", [False, True])
def test_a_run_that_was_about_to_stop_stops_where_it_is_taken_up(
    signalled: bool, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(history: Sequence[Evaluation]) -> Decision:
        return Stop("enough") if history[-1].step == 4 else GoOn()

    undisturbed, wanted = _train(recipe, tmp_path / "undisturbed", stops)
    job = tiny.job(recipe, tmp_path / "ended", "ppo")
    roles = ppo_roles(recipe, job.start, None)
    right = Update.run

    def asked_to_end(self: Update, number: int, beta: float) -> dict[str, Any]:
        job.stop.signal_number = 15 if number == 4 else None
        return right(self, number, beta)

    with monkeypatch.context() as patch:
        if signalled:
            patch.setattr(Update, "run", asked_to_end)
        else:
            _kill(patch, "before", Job, "save_policy")
        with pytest.raises(InterruptedRunError if signalled else _Killed):
            _go_on(job, roles, stops)
    again, result = _train(recipe, tmp_path / "ended", stops)
    assert _left(again) == _left(undisturbed)
    assert (result["stopped_by"], result["steps"]) == (wanted["stopped_by"], wanted["steps"]) == ("enough", 4)
