"""A recipe for a dry run does few steps, and nothing that a recipe's author would not expect of one."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.config.sections import Base
from truing.estimate.no_reward import zeros
from truing.estimate.shortened import STEPS, one_step, shortened, steps_of

BASE = Base(path="elsewhere")


def _short(recipe: Recipe, **given: Any) -> Recipe:
    return shortened(recipe, BASE, 0.5, **given)


def test_a_dry_run_is_short_and_on_what_it_is_given(tmp_path: Path) -> None:
    own = {
        "evaluation.judges": {"own": "letters:letter_a"},
        "guard.mode": "rollback",
        "track": ["tensorboard"],
        "variants": {"no-kl": {"ppo.kl.beta": 0.0}},
    }
    recipe = tiny.recipe(tmp_path, stages=["sft", "reward", "ppo", "dpo"], **own, **{"ppo.updates": 500})
    short = _short(recipe)
    assert (short.base, short.lora.layers) == (BASE, 0.5)
    assert short.sft.epochs == short.reward.epochs == short.dpo.epochs == short.ppo.updates == STEPS
    assert (short.evaluation.judges, short.track, short.guard.mode) == ({}, [], "off")
    assert [stage.name for stage in plan(short)] == ["sft", "reward", "ppo", "dpo"]
    # What decides how much is held and how long a step takes stays.
    assert (short.compute, short.ppo.episodes, short.ppo.epochs) == (recipe.compute, 8, 2)


def test_a_rehearsal_waits_for_nobodys_judgements_in_a_variant_neither(tmp_path: Path) -> None:
    guarded = {"guard.mode": "warn", "ppo.kl.controller": "adaptive"}
    short = one_step(tiny.recipe(tmp_path, variants={"guarded": guarded}), BASE)
    assert short.variants == {"guarded": {"ppo.kl.controller": "adaptive"}}
    assert {stage.recipe.guard.mode for stage in plan(short)} == {"off"}


def test_one_that_is_not_timed_does_less(tmp_path: Path) -> None:
    short = _short(tiny.recipe(tmp_path), timed=False)
    assert (short.ppo.epochs, short.ppo.updates) == (1, STEPS - 1)


def test_people_are_not_asked_about_a_rehearsal(tmp_path: Path) -> None:
    variants = {"watched": {"guard.mode": "warn", "roles": "separate"}}
    short = one_step(tiny.recipe(tmp_path, variants=variants, **{"guard.mode": "stop"}), BASE)
    assert short.guard.mode == "off"
    assert short.variants == {"watched": {"roles": "separate"}}


def test_no_language_model_is_asked_in_a_dry_run(tmp_path: Path) -> None:
    judge = {"base_url": "http://elsewhere.example:1/v1", "model": "m"}
    sources = [{"kind": "judge", "path": "strict", "weight": 2.0}]
    recipe = tiny.recipe(tmp_path, **{"llm_judges": {"strict": judge}, "rewards.sources": sources})
    for short in (_short(recipe), one_step(recipe, BASE)):
        (source,) = short.rewards.sources
        assert (source.kind, source.path, source.weight) == ("function", "truing.estimate.no_reward:zeros", 2.0)


def test_an_episode_of_several_turns_is_as_long_where_nobody_answers(tmp_path: Path) -> None:
    source = {"kind": "environment", "path": "letters:Patient", "turns": 3, "observation_tokens": 4}
    recipe = tiny.recipe(tmp_path, **{"rewards.sources": [source], "rollout.max_new_tokens": 5})
    short = _short(recipe)
    assert (short.environment, short.longest_response) == (None, 3 * 5 + 2 * 4)
    assert one_step(recipe, BASE).rollout.max_new_tokens == 4


def test_functions_of_the_recipe_are_not_called_and_only_the_reward_stage_is_normalised(tmp_path: Path) -> None:
    rewards = [
        {"kind": "stage", "path": None, "weight": 2.0, "normalise": True},
        {"kind": "model", "path": "judge", "weight": 1.0, "normalise": True},
        {"kind": "function", "path": "letters:letter_a", "weight": 1.0, "normalise": True},
    ]
    stage, model, function = _short(tiny.recipe(tmp_path, **{"rewards.sources": rewards})).rewards.sources
    assert (stage.normalise, model.normalise, function.normalise) == (True, False, False)
    assert (stage.weight, model.path, function.path) == (2.0, "judge", "truing.estimate.no_reward:zeros")
    assert zeros(["a", "b"], ["c", "d"]) == [0.0, 0.0]


@pytest.mark.parametrize(("stage", "steps"), [("sft", 2 * 3), ("reward", 2 * 4), ("ppo", 2)])
def test_steps_are_those_of_a_run(stage: str, steps: int, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)  # of 8 rows a step, 2 epochs
    assert steps_of(recipe, stage, {"sft": 22, "reward": 25}) == steps
