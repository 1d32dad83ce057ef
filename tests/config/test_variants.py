from typing import Any

import pytest

from truing.config import reward_sources, variant, with_changes
from truing.config.recipe import Recipe
from truing.config.sections import World
from truing.config.variants import repeated_stages

WORLD = "world: {}\n"
ALL = ["sft", "reward", "ppo", "dpo"]


def test_a_variant_is_the_same_recipe_with_its_changes(load: Any) -> None:
    recipe = load(
        WORLD + "ppo: {gamma: 0.9}\nvariants: {hot: {rollout.temperature: 2.0, ppo.updates: 3}, b: {seed: 1}}"
    )
    changed = variant(recipe, "hot")
    assert (changed.rollout.temperature, changed.ppo.updates, changed.ppo.gamma) == (2.0, 3, 0.9)
    assert changed.variants == {}
    back = {"rollout.temperature": 1.0, "ppo.updates": recipe.ppo.updates, "variants": recipe.variants}
    assert with_changes(changed, back) == recipe


def test_changes_may_be_nested_dotted_or_inside_lists(load: Any) -> None:
    dotted = "{ppo.kl.beta: 0.5, ppo.kl.target: 3.0, rewards.sources.0.weight: 2.0}"
    nested = "{ppo: {kl: {beta: 0.5}, kl.target: 3.0}, rewards: {sources.0: {weight: 2.0}}}"
    one, two = (load(f"{WORLD}variants: {{a: {changes}}}") for changes in (dotted, nested))
    assert one == two
    assert variant(one, "a").rewards.sources[0].weight == 2.0


@pytest.mark.parametrize(
    ("changes", "judges"),
    [
        ("evaluation: {judges: {}}", {}),
        ("evaluation.judges: {b: 'm:g'}", {"b": "m:g"}),
        ("evaluation: {judges: {b: 'm:g'}}", {"b": "m:g"}),
        ("evaluation.judges.b: 'm:g'", {"a": "m:f", "b": "m:g"}),
    ],
)
def test_a_variant_has_the_judges_that_it_names(load: Any, changes: str, judges: dict[str, str]) -> None:
    recipe = load(f"{WORLD}evaluation: {{judges: {{a: 'm:f'}}}}\nvariants: {{other: {{{changes}}}}}")
    assert variant(recipe, "other").evaluation.judges == judges


@pytest.mark.parametrize(
    ("stages", "key", "repeated"),
    [
        (ALL, "seed", ALL),
        (ALL, "roles", ALL),
        (ALL, "lora.rank", ALL),
        (ALL, "lora", ALL),
        (ALL, "compute.dtype", ALL),
        (ALL, "sft.epochs", ALL),
        (["reward", "ppo"], "sft.epochs", []),
        (["sft"], "ppo.gamma", []),
        (ALL, "reward.epochs", ["reward", "ppo", "dpo"]),
        (["sft", "dpo"], "reward.epochs", []),
        (ALL, "rollout.temperature", ["reward", "ppo", "dpo"]),
        (ALL, "evaluation.prompts", ["reward", "ppo", "dpo"]),
        (ALL, "evaluation.every", ["ppo", "dpo"]),
        (ALL, "rewards.sources.0.weight", ["ppo", "dpo"]),
        (ALL, "rewards", ["reward", "ppo", "dpo"]),
        (ALL, "lora.layers", ["ppo", "dpo"]),
        (ALL, "ppo.kl.beta", ["ppo"]),
        (ALL, "dpo.beta", ["dpo"]),
        (ALL, "compute.learn_tokens", []),
    ],
)
def test_stages_that_a_change_concerns_are_repeated(stages: list[str], key: str, repeated: list[str]) -> None:
    assert repeated_stages(stages, [key]) == repeated


@pytest.mark.parametrize(
    ("variants", "code", "field"),
    [
        ("a: {ppo.kl.beta: x}", "wrong-type", "a.ppo.kl.beta"),
        ("a: {ppo: {kl: {betta: 1.0}}}", "unknown-key", "a.ppo.kl.betta"),
        ("a: {kl.beta: 1.0}", "unknown-key", "a.kl"),
        ("a: {ppo.kl.beta.x: 1}", "no-such-place", "a.ppo.kl.beta.x"),
        ("a: {rewards.sources.1.weight: 2.0}", "no-such-place", "a.rewards.sources.1.weight"),
        ("a: {rewards.sources: []}", "wrong-value", "a.rewards.sources"),
        ("a: {lora: 3}", "wrong-type", "a.lora"),
        ("a: {ppo.episodes: 10, ppo.minibatches: 3}", "contradiction", "a.ppo"),
        ("a: {rollout.max_new_tokens: 512}", "no-room", "a.rollout.max_new_tokens"),
        ("a: {rewards.sources: [{kind: function, path: m}]}", "no-function", "a.rewards.sources.0.path"),
        ("a: {variants.b.ppo.gamma: 0.5}", "run-wide-key", "a.variants.b.ppo.gamma"),
        ("a: {data.max_length: 9}", "run-wide-key", "a.data.max_length"),
        ("a: {base: {path: org/model}}", "run-wide-key", "a.base.path"),
        ("a: {world: null}", "run-wide-key", "a.world"),
        ("a: {stages: [sft]}", "run-wide-key", "a.stages"),
        ("a: {checkpoints.keep_last: 3}", "run-wide-key", "a.checkpoints.keep_last"),
        ("a: {ppo.gamma: 0.5, compute.threads: 1}", "run-wide-key", "a.compute.threads"),
        ("a: {compute.learn_tokens: 3}", "idle-variant", "a"),
        ("a: {}", "idle-variant", "a"),
        ("a/b: {ppo.gamma: 0.5}", "variant-name", "a/b"),
        ("a: 3", "wrong-type", "a"),
    ],
)
def test_a_problem_of_a_variant_is_where_it_stands(spots: Any, variants: str, code: str, field: str) -> None:
    assert spots(f"{WORLD}variants:\n  {{{variants}}}") == [(code, f"variants.{field}", "r.yaml:3")]


def test_a_problem_of_a_variant_has_the_line_of_its_key(spots: Any) -> None:
    text = f"{WORLD}variants:\n  a:\n    ppo.gamma: 0.5\n    ppo:\n      kl:\n        beta: x\n"
    assert spots(text) == [("wrong-type", "variants.a.ppo.kl.beta", "r.yaml:7")]


@pytest.mark.parametrize(
    "text", ["ppo: {updates: 0}", "ppo: {bogus: 1}", "rollout: {max_new_tokens: 600}", "stages: [sft, ppo]", "sft: 3"]
)
def test_a_problem_of_the_recipe_itself_is_not_repeated_for_each_variant(problems: Any, text: str) -> None:
    assert len(problems(f"{WORLD}{text}\nvariants: {{a: {{ppo.gamma: 0.9}}, b: {{seed: 5}}}}")) == 1


def test_a_problem_of_the_recipe_may_stand_in_a_variant_beside_one_of_its_own(spots: Any) -> None:
    found = spots(f"{WORLD}ppo: {{updates: 0}}\nvariants: {{a: {{ppo.updates: -1}}}}")
    assert [field for _, field, _ in found] == ["ppo.updates", "variants.a.ppo.updates"]


def test_variants_of_a_stage_that_does_not_run_are_sound(load: Any) -> None:
    assert load(f"{WORLD}stages: [sft]\nvariants: {{a: {{ppo.kl.beta: 0.0}}}}").stages == ["sft"]


RULE = "{kind: function, path: 'rules:short'}"


@pytest.mark.parametrize(
    ("stages", "keys"),
    [
        ("[sft]", []),
        ("[sft, dpo]", ["rewards.sources.0", "variants.a.rewards.sources.0", "variants.a.rewards.sources.1"]),
        ("[sft, ppo]", ["rewards.sources.0", "variants.a.rewards.sources.0", "variants.a.rewards.sources.1"]),
    ],
)
def test_sources_of_reward_are_those_that_a_policy_asks_for(load: Any, stages: str, keys: list[str]) -> None:
    variants = f"variants: {{a: {{rewards.sources: [{RULE}, {RULE}]}}, same: {{ppo.gamma: 0.5, dpo.beta: 0.2}}}}"
    recipe = load(f"{WORLD}stages: {stages}\nrewards: {{sources: [{RULE}]}}\n{variants}")
    assert [key for key, _ in reward_sources(recipe)] == keys


def test_changes_leave_the_recipe_as_it_is() -> None:
    recipe = Recipe(world=World())
    assert with_changes(recipe, {"rewards.sources.0.weight": 2.0}).rewards.sources[0].weight == 2.0
    assert recipe == Recipe(world=World())
