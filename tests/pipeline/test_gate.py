"""A stage that learns from a reward model does not begin where that model has learnt nothing."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config import recorded_recipe, with_changes
from truing.config.recipe import Recipe
from truing.core.errors import RewardError, RunError
from truing.pipeline.execute import run_pipeline
from truing.runs.directory import RunDirectory
from truing.runs.progress import SilentProgress

STOP = {"stages": ["reward", "ppo"], "on_unsound_reward": "stop"}


def _states(root: Path) -> dict[str, str]:
    return {stage.name: stage.state for stage in RunDirectory(root).lineage.stages}


def _run(recipe: Recipe, root: Path) -> dict[str, str]:
    run_pipeline(recipe, root, SilentProgress())
    return _states(root)


def test_two_held_out_pairs_are_never_clear_of_chance_and_the_field_goes_on_from_what_was_made(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **STOP)
    with pytest.raises(RewardError) as refused:
        _run(recipe, tmp_path / "run")
    assert (refused.value.code, refused.value.exit_code) == ("rewards/unsound", 2)
    assert "not clear of chance" in refused.value.what
    assert "2 held-out pairs right" in refused.value.what
    assert "too few to tell" in str(refused.value.hint)
    assert _states(tmp_path / "run") == {"reward": "done", "ppo": "pending"}
    assert not (tmp_path / "run" / "ppo").exists()
    weights = (tmp_path / "run" / "reward" / "model" / "model.safetensors").stat().st_mtime_ns
    going_on = with_changes(recipe, {"on_unsound_reward": "go_on"})
    assert _run(going_on, tmp_path / "run") == {"reward": "done", "ppo": "done"}
    assert (tmp_path / "run" / "reward" / "model" / "model.safetensors").stat().st_mtime_ns == weights
    assert recorded_recipe(tmp_path / "run" / "recipe.yaml") == going_on
    assert _run(recipe, tmp_path / "run") == {"reward": "done", "ppo": "done"}, "a finished run is left as it is"


def test_no_other_field_may_change_in_a_run(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"])
    _run(recipe, tmp_path / "run")
    other = with_changes(recipe, {"on_unsound_reward": "stop", "seed": 3})
    with pytest.raises(RunError, match=r"another recipe \(seed: 17 → 3\)"):
        _run(other, tmp_path / "run")


def test_a_sound_reward_model_is_learnt_from(tmp_path: Path) -> None:
    own = tiny.write_rows(tmp_path / "heldout.jsonl", tiny.preferences(40)[24:])
    recipe = tiny.recipe(tmp_path, **STOP, **{"data.heldout_preferences": {"path": str(own)}})
    assert _run(recipe, tmp_path / "run") == {"reward": "done", "ppo": "done"}


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": ["reward", "dpo"]},
        {"rewards.sources": [{"kind": "function", "path": "letters:letter_a"}]},
    ],
)
def test_what_does_not_learn_from_it_is_not_held_up(changes: dict[str, Any], tmp_path: Path) -> None:
    states = _run(tiny.recipe(tmp_path, **(STOP | changes)), tmp_path / "run")
    assert set(states.values()) == {"done"}
