"""Best-of-n is chosen by the reward that the policies were paid by."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tiny

from truing.config import with_changes
from truing.config.plan import plan
from truing.pipeline.execute import run_pipeline
from truing.runs.interruption import Interruption
from truing.runs.progress import SilentProgress
from truing.sweep.baseline import _measured


def test_of_several_members_it_is_chosen_as_the_recipe_combines_them(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, stages=["reward", "ppo"], **{"reward.members": 2, "ppo.updates": 1})
    trial: Any = SimpleNamespace(run=run_pipeline(recipe, tmp_path / "run", SilentProgress()), seed=17)
    stage = next(one for one in plan(recipe) if one.spec.must_be_scored)

    def scores(combine: str, **knob: float) -> list[list[float]]:
        sources = [{"kind": "stage", "combine": combine, "normalise": False} | knob]
        paid = replace(stage, recipe=with_changes(stage.recipe, {"rewards.sources": sources}))
        return _measured(paid, trial, 2, SilentProgress(), Interruption())["score"]

    mean, lowest, averaged = scores("mean"), scores("soft_minimum", tau=1e-6), scores("averaged_weights")
    pairs = [(one, other) for row, low in zip(mean, lowest, strict=True) for one, other in zip(row, low, strict=True)]
    assert all(low <= middle + 1e-9 for middle, low in pairs)  # on the same answers, the lower member's
    assert mean != lowest
    assert mean != averaged


def test_answers_of_the_start_are_episodes_where_an_environment_answers(tmp_path: Path) -> None:
    source = {"kind": "environment", "path": "letters:Patient", "turns": 3, "observation_tokens": 4, "normalise": False}
    recipe = tiny.recipe(tmp_path, stages=["sft", "grpo"], **{"rewards.sources": [source], "grpo.updates": 1})
    trial: Any = SimpleNamespace(run=run_pipeline(recipe, tmp_path / "run", SilentProgress()), seed=17)
    stage = next(one for one in plan(recipe) if one.spec.must_be_scored)
    scores = _measured(stage, trial, 2, SilentProgress(), Interruption())["score"]
    assert [len(row) for row in scores] == [2] * recipe.evaluation.prompts
    assert all(score == int(score) >= 0 for row in scores for score in row), "so many times it said 'a'"
