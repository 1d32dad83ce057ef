"""Which stages a run has, where each begins, and what each has in its recipe."""

from typing import Any

import pytest

from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.config.sections import World


def planned(stages: list[str], **variants: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Name to what it builds on."""
    recipe = Recipe(world=World(), stages=stages, variants={name.replace("_", "-"): v for name, v in variants.items()})
    return {stage.name: dict(stage.builds_on) for stage in plan(recipe)}


@pytest.mark.parametrize(
    ("stages", "builds_on"),
    [
        (["sft"], [{}]),
        (["reward"], [{}]),
        (["ppo"], [{}]),
        (["sft", "reward"], [{}, {"sft": "sft"}]),
        (["reward", "ppo"], [{}, {"reward": "reward"}]),
        (["sft", "dpo"], [{}, {"sft": "sft"}]),
        (
            ["sft", "reward", "ppo", "dpo"],
            [{}, {"sft": "sft"}, {"sft": "sft", "reward": "reward"}, {"sft": "sft", "reward": "reward"}],
        ),
    ],
)
def test_a_stage_builds_on_those_before_it_that_the_recipe_has(
    stages: list[str], builds_on: list[dict[str, str]]
) -> None:
    assert planned(stages) == dict(zip(stages, builds_on, strict=True))


def test_a_variant_repeats_a_stage_beside_it_on_what_both_share() -> None:
    names = planned(["sft", "reward", "ppo"], no_kl={"ppo.kl.beta": 0.0}, far={"ppo.gamma": 0.5})
    assert list(names) == ["sft", "reward", "ppo", "ppo-no-kl", "ppo-far"]
    assert names["ppo-no-kl"] == names["ppo"] == {"sft": "sft", "reward": "reward"}


def test_a_repeated_stage_is_what_later_ones_of_the_variant_build_on() -> None:
    names = planned(["sft", "reward", "ppo", "dpo"], longer={"reward.epochs": 2})
    assert list(names) == ["sft", "reward", "reward-longer", "ppo", "ppo-longer", "dpo", "dpo-longer"]
    assert names["reward-longer"] == {"sft": "sft"}
    assert names["ppo-longer"] == names["dpo-longer"] == {"sft": "sft", "reward": "reward-longer"}


def test_a_change_of_a_stage_that_the_recipe_does_not_have_repeats_nothing() -> None:
    assert list(planned(["reward", "ppo"], more={"sft.epochs": 2, "dpo.beta": 0.2})) == ["reward", "ppo"]


def test_each_stage_has_the_recipe_of_its_variant() -> None:
    recipe = Recipe(world=World(), stages=["ppo"], variants={"no-kl": {"ppo.kl.beta": 0.0}})
    plain, changed = plan(recipe)
    assert (plain.recipe, plain.kind, plain.spec.title) == (recipe, "ppo", "PPO")
    assert (changed.recipe.ppo.kl.beta, changed.recipe.variants, changed.kind) == (0.0, {}, "ppo")
