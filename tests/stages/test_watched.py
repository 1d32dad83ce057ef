"""A policy that nobody judges is watched: one alarm, one raise of beta, whatever kills the run around them."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.core.results import to_json
from truing.guard import smoke
from truing.guard.smoke import SmokeDetectors
from truing.runs.metrics import read_jsonl
from truing.stages.online import Update
from truing.stages.ppo import train_ppo
from truing.training.job import Job
from truing.training.journal import Journal

CHANGES = {
    "rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}],
    "ppo.updates": 5,
    "ppo.optimiser.learning_rate": 1e-2,
    "ppo.kl.beta": 0.5,
    "evaluation.every": 5,
    "checkpoints.every_steps": 1,
    "checkpoints.keep_last": 1,
    "guard": {"mode": "rollback", "judge": {"kind": "none"}, "look_every": 2},
}
RINGS, RAISED = 2, 1.5
"""The step of the first look, and three times the beta before it"""
NEAR = 1e-4
"""Nats: a policy of a few letters moves little in five updates, and is to ring at each look"""
Left = tuple[bytes, bytes, list[dict[str, Any]], dict[str, Any]]


@pytest.fixture(autouse=True)
def rings_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "KL_ALARM", NEAR)


def _recipe(place: Path, **changes: Any) -> Recipe:
    return tiny.recipe(place, **CHANGES | changes)


def _left(job: Job) -> Left:
    """Weights, samples, metrics and results, without their times."""
    result = {k: v for k, v in to_json(train_ppo(job)).items() if k != "seconds"}
    rows = [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_jsonl(job.directory.metrics)]
    return (job.directory.model / "model.safetensors").read_bytes(), job.directory.samples.read_bytes(), rows, result


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return _recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Left:
    job = tiny.job(recipe, tmp_path_factory.mktemp("undisturbed"), "ppo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoke, "KL_ALARM", NEAR)
        left = _left(job)
    assert not job.directory.judgements.exists()
    return left


def test_the_first_alarm_raises_beta_once_and_ends_nothing(undisturbed: Left) -> None:
    *_, rows, result = undisturbed
    assert [row["beta"] for row in rows[1:]] == [0.5] * RINGS + [RAISED] * (5 - RINGS)
    assert all(row["heldout_kl"] > NEAR for row in rows if row["step"] in (2, 4, 5))
    assert (result["stopped_by"], result["guard_labels"], result["guard_kept_step"]) == ("updates", 0, 5)
    alarm, worth = result["guard_story"]
    assert alarm.startswith(f"smoke at step {RINGS}: KL is ")
    assert alarm.endswith(f"; beta is {RAISED:g} from here on")
    assert worth == smoke.WORTH


class _Killed(BaseException):
    """Nothing catches a kill."""


MOMENTS = [
    ("before", Journal, "done", RINGS),
    ("before", SmokeDetectors, "decide", 1),
    ("after", SmokeDetectors, "decide", 1),
    ("after", Update, "run", RINGS + 1),
    ("after", Journal, "done", RINGS + 1),
    ("before", SmokeDetectors, "decide", 2),
    ("before", Job, "save_policy", 1),
]
"""Around the call with this number"""
SPARSE = [("after", SmokeDetectors, "decide", 1), ("after", Update, "run", RINGS + 2)]


@pytest.mark.parametrize(
    ("moment", "owner", "name", "call", "every"), [(*at, 1) for at in MOMENTS] + [(*at, RINGS + 1) for at in SPARSE]
)
def test_killed_around_its_alarm_it_ends_as_if_it_had_not_been(
    moment: str,
    owner: type,
    name: str,
    call: int,
    every: int,
    undisturbed: Left,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = _recipe(tmp_path / "recipe", **{"checkpoints.every_steps": every})
    right, calls = getattr(owner, name), []

    def dying(*given: Any, **named: Any) -> Any:
        calls.append(name)
        is_last = len(calls) == call
        if is_last and moment == "before":
            raise _Killed
        found = right(*given, **named)
        if is_last:
            raise _Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(_Killed):
            train_ppo(tiny.job(recipe, tmp_path / "run", "ppo"))
    assert _left(tiny.job(recipe, tmp_path / "run", "ppo")) == undisturbed
