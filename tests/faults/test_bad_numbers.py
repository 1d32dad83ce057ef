"""A number that is not finite ends the run before it is saved, with stage, step and sample; the last sound checkpoint
goes on. Where the recipe says drop, a response without a score is left out and counted.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from faults.killed import left_behind

from truing.config.recipe import Recipe
from truing.config.sections import Optimiser
from truing.core.errors import RewardError, RunError, TrainingError
from truing.pipeline.execute import run_pipeline
from truing.report import write_report
from truing.runs.checkpoints import newest_checkpoint, save_checkpoint
from truing.runs.directory import RunDirectory
from truing.runs.files import read_json
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress
from truing.stages import sft
from truing.training.learner import Learner

NO_SCORE = """
from pathlib import Path
bad = Path(__file__).with_name("bad")
calls = 0
def score(prompts, responses):
    global calls
    calls += 1
    scores = [float(response.count("a")) + len(response) / 100 for response in responses]
    if bad.exists() and calls >= int(bad.read_text()):
        scores[1] = float("nan")
    return scores
"""
"""From the call whose number is in the file `bad`, its second response has no score"""


def run(recipe: Recipe, root: Path) -> RunDirectory:
    return run_pipeline(recipe, root, SilentProgress())


def scored(place: Path, **changes: Any) -> Recipe:
    """PPO on a function whose second response has no score from the fifth call on."""
    place.mkdir()
    (place / "own.py").write_text(NO_SCORE)
    path = f"{place / 'own.py'}:score"
    rewards = [{"kind": "function", "path": path}]
    ours = {"stages": ["ppo"], "rewards.sources": rewards, "evaluation.judges": {"own": path}}
    often = {"ppo.updates": 3, "evaluation.every": 1, "checkpoints.every_steps": 1}
    return tiny.recipe(place, **ours | often | changes)


def test_a_loss_that_is_not_finite_names_the_row_and_the_run_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path / "recipe", **{"stages": ["sft"], "checkpoints.every_steps": 1})
    undisturbed = left_behind(run(recipe, tmp_path / "undisturbed").root)
    right, calls = sft.completion_loss, [0]
    whole = f"{tmp_path}/recipe/demonstrations.jsonl"

    def broken(policy: Any, batch: Any) -> Any:
        calls[0] += 1
        loss, stats = right(policy, batch)
        poisoned = calls[0] > 4 and bool((batch.prompt_lengths == batch.prompt_lengths.max()).any())
        return (loss * math.nan if poisoned else loss), stats

    with monkeypatch.context() as patch:
        patch.setattr(sft, "completion_loss", broken)
        with pytest.raises(TrainingError) as stopped:
            run(recipe, tmp_path / "run")
    told = rf"sft step 5, optimiser step 5: the loss became nan on {re.escape(whole)}:\d+"
    assert re.match(told, str(stopped.value))
    found = newest_checkpoint(tmp_path / "run" / "sft" / "checkpoints", print)
    assert found is not None
    assert found.step == 4
    assert left_behind(run(recipe, tmp_path / "run").root) == undisturbed


def test_a_score_that_is_not_finite_names_the_response_and_the_run_goes_on_once_it_is(tmp_path: Path) -> None:
    recipe = scored(tmp_path / "recipe")
    undisturbed = left_behind(run(recipe, tmp_path / "undisturbed").root)
    (tmp_path / "recipe" / "bad").write_text("5")
    with pytest.raises(RewardError, match=r"^ppo step 2, .*own\.py:score: returned nan for the response '.*'\."):
        run(recipe, tmp_path / "run")
    assert RunDirectory(tmp_path / "run").lineage.stage_state("ppo") == "running"
    (tmp_path / "recipe" / "bad").unlink()
    assert left_behind(run(recipe, tmp_path / "run").root) == undisturbed


def test_where_the_recipe_says_drop_such_responses_are_left_out_and_counted(tmp_path: Path) -> None:
    recipe = scored(tmp_path / "recipe", **{"rewards.on_bad_score": "drop"})
    (tmp_path / "recipe" / "bad").write_text("4")
    directory = run(recipe, tmp_path / "run")
    ppo = directory.stage("ppo")
    result, rows = read_json(ppo.result), read_jsonl(ppo.metrics)
    # Calls of the reward: calibration, first evaluation, then an update and an evaluation three times over.
    assert [row.get("dropped") for row in rows] == [None, 0, 1, 1]
    assert result["dropped"] == 2
    assert result["heldout_dropped"] == 3
    (warned,) = (text for text in result["warnings"] if "2 in training and 3 in held-out" in text)
    samples = read_jsonl(ppo.samples)
    assert [row["step"] for row in samples if row["score"] is None] == [1, 2, 3]
    assert [row["step"] for row in samples if row["judges"]["own"] is None] == [3]
    assert warned in write_report(directory.root).read_text(encoding="utf-8")


def test_too_few_scores_to_learn_from_end_the_run(tmp_path: Path) -> None:
    recipe = scored(tmp_path / "recipe", **{"rewards.on_bad_score": "drop", "ppo.episodes": 2})
    (tmp_path / "recipe" / "bad").write_text("3")
    with pytest.raises(RewardError, match=r"^ppo step 1: only 1 of 2 responses were given a finite score"):
        run(recipe, tmp_path / "run")


def _learner(weight: torch.nn.Parameter) -> Learner:
    return Learner([tiny.trained("policy", 0.1, weight)], Optimiser(learning_rate=0.1), 10, 100)


def test_weights_that_are_not_finite_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    learner, right = _learner(weight), torch.optim.AdamW.step

    def overflowing(self: Any) -> None:
        right(self)
        weight.data[0] = math.inf

    monkeypatch.setattr(torch.optim.AdamW, "step", overflowing)
    weight.grad = torch.ones(2)
    with pytest.raises(TrainingError, match=r"^optimiser step 1: the step left weights that are not finite\."):
        learner.step()


@pytest.mark.parametrize("name", ["weights/policy/a", "exp_avg_sq/policy/a"])
def test_what_is_not_finite_is_not_saved(name: str, tmp_path: Path) -> None:
    sound = {"weights/policy/a": torch.ones(3), "exp_avg_sq/policy/a": torch.ones(3), "steps": torch.tensor(1)}
    save_checkpoint(tmp_path, 1, sound, {}, keep_last=1)
    broken = sound | {name: torch.tensor([1.0, math.nan, 1.0])}
    with pytest.raises(TrainingError, match=rf"step-00000002: {name} is not finite and is not saved"):
        save_checkpoint(tmp_path, 2, broken, {}, keep_last=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_checkpoint_that_lacks_a_moment_is_an_error() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    learner = _learner(weight)
    weight.grad = torch.ones(2)
    learner.step()
    tensors = learner.tensors()
    del tensors["exp_avg/policy/weight.0"]
    with pytest.raises(RunError, match=r"lacks moments of policy/weight\.0"):
        learner.restore(tensors)


def test_a_metric_that_is_not_finite_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path / "recipe", **{"stages": ["sft"], "checkpoints.every_steps": 1})
    monkeypatch.setattr(sft, "heldout_loss", lambda *_: math.nan)
    with pytest.raises(TrainingError, match=r"^sft step 0: heldout_loss is nan, not a finite number"):
        run(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "sft" / "metrics.jsonl").read_text() == ""
    assert json.loads((tmp_path / "run" / "run.json").read_text())["stages"][0]["state"] == "running"
