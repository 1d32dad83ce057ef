"""A policy that learns what its judges dislike is taken back, whatever kills the run on the way."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file

from truing.config.recipe import Recipe
from truing.core.errors import WaitingError
from truing.models.layout import ppo_roles
from truing.models.save import save_adapter
from truing.runs.metrics import read_jsonl
from truing.stages.ppo import train_ppo
from truing.training.job import Job
from truing.training.journal import Journal

LOVES_A = {
    "rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}],
    "rollout.max_new_tokens": 12,
    "ppo.updates": 5,
    "ppo.episodes": 32,
    "ppo.optimiser.learning_rate": 3e-2,
    "ppo.kl.beta": 0.0,
    "evaluation.prompts": 16,
    "evaluation.every": 5,
    "checkpoints.every_steps": 1,
    "checkpoints.keep_last": 1,
    "guard": {
        "mode": "rollback",
        "judge": {"kind": "pairs", "path": "letters:fewer_a"},
        "labels": 160,
        "look_every": 1,
        "alarm_kl": 1e6,
        "beta": 2.0,
        "rollbacks": 1,
    },
}


def _recipe(place: Path, **changes: Any) -> Recipe:
    return tiny.recipe(place, **LOVES_A | changes)


@pytest.fixture(scope="module")
def recipe(undisturbed: tuple[Job, Any]) -> Recipe:
    return undisturbed[0].recipe


def _left(job: Job) -> tuple[bytes, bytes, list[dict[str, Any]]]:
    rows = [{k: v for k, v in row.items() if not k.endswith("_s")} for row in read_jsonl(job.directory.metrics)]
    judged = (job.directory.root / "judgements.jsonl").read_bytes()
    return (job.directory.model / "model.safetensors").read_bytes(), judged, rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Any]:
    """A run that goes back, and in the end takes an earlier step than its last: of which seed is up to rounding."""
    for seed in range(17, 29):
        recipe = _recipe(tmp_path_factory.mktemp("recipe"), seed=seed)
        job = tiny.job(recipe, tmp_path_factory.mktemp("undisturbed"), "ppo")
        result = train_ppo(job)
        assert result.guard is not None
        if result.guard.guard_rollbacks and result.guard.guard_kept_step < job.recipe.ppo.updates:
            return job, result
    raise AssertionError("no seed does both")


def test_a_policy_that_judges_dislike_goes_back_and_ends_with_the_best_step(
    recipe: Recipe, undisturbed: tuple[Job, Any], tmp_path: Path
) -> None:
    job, result = undisturbed
    assert result.guard.guard_rollbacks == 1
    assert "worse than those of step" in result.guard.guard_story[0]
    assert result.guard.guard_labels == len((job.directory.root / "judgements.jsonl").read_text().splitlines())
    roles = ppo_roles(recipe, job.start, None)
    if result.guard.guard_kept_step == 0:  # all that is left is the adapter that training began with
        save_adapter(roles.policy, tmp_path)
        begun = load_file(tmp_path / "adapter_model.safetensors")
        kept = load_file(job.directory.adapter / "adapter_model.safetensors")
        assert all(torch.equal(begun[name], kept[name]) for name in begun)
        assert result.heldout.heldout_score.change == 0


class _Killed(BaseException):
    """Nothing catches a kill."""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", ["roll_back", "take_pinned"])
def test_killed_around_its_decisions_it_ends_as_if_it_had_not_been(
    moment: str,
    name: str,
    recipe: Recipe,
    undisturbed: tuple[Job, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = getattr(Journal, name)

    def dying(*given: Any) -> Any:
        if moment == "after":
            right(*given)
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, name, dying)
        with pytest.raises(_Killed):
            train_ppo(tiny.job(recipe, tmp_path, "ppo"))
    job = tiny.job(recipe, tmp_path, "ppo")
    train_ppo(job)
    assert _left(job) == _left(undisturbed[0])


def test_killed_before_its_beginning_is_pinned_it_can_still_go_back_to_it(
    recipe: Recipe, undisturbed: tuple[Job, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr("truing.training.journal.pin_checkpoint", dying)
        with pytest.raises(_Killed):
            train_ppo(tiny.job(recipe, tmp_path, "ppo"))
    job = tiny.job(recipe, tmp_path, "ppo")
    train_ppo(job)
    assert _left(job) == _left(undisturbed[0])


def test_a_run_that_waits_for_people_goes_on_from_their_answers(tmp_path: Path) -> None:
    recipe = _recipe(
        tmp_path / "recipe",
        **{"guard": {"mode": "warn", "labels": 12, "look_every": 2}, "ppo.updates": 3, "ppo.episodes": 8},
    )
    place = tmp_path / "run"
    for look in (1, 2):
        with pytest.raises(WaitingError, match=f"look-{look:03d}.jsonl"):
            train_ppo(tiny.job(recipe, place, "ppo"))
        (file,) = place.rglob(f"guard-look-{look:03d}.jsonl")
        rows = [json.loads(line) | {"better": "first"} for line in file.read_text().splitlines()]
        assert rows
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = tiny.job(recipe, place, "ppo")
    assert train_ppo(job).guard.guard_labels == len(read_jsonl(job.directory.root / "judgements.jsonl"))
