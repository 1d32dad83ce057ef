import pytest

from truing.config import reward_parts, variant
from truing.core.errors import RecipeError

WORLD = "world: {}\n"


def test_a_variant_is_the_same_recipe_with_its_changes(load) -> None:
    recipe = load(WORLD + "ppo: {gamma: 0.9, variants: {no-kl: {kl.beta: 0.0, updates: 3}, other: {gamma: 0.8}}}")
    changed = variant(recipe, "no-kl")
    assert (changed.ppo.kl.beta, changed.ppo.updates, changed.ppo.gamma) == (0.0, 3, 0.9)
    assert changed.ppo.variants == {}
    back = {"kl": recipe.ppo.kl, "updates": recipe.ppo.updates, "variants": recipe.ppo.variants}
    assert changed.model_copy(update={"ppo": changed.ppo.model_copy(update=back)}) == recipe


def test_changes_may_be_nested_dotted_or_inside_lists(load) -> None:
    dotted = "{kl.beta: 0.5, kl.target: 3.0, rewards.0.weight: 2.0}"
    nested = "{kl: {beta: 0.5, target: 3.0}, rewards.0: {weight: 2.0}}"
    one, two = (load(f"{WORLD}ppo: {{variants: {{a: {changes}}}}}") for changes in (dotted, nested))
    assert one == two
    assert variant(one, "a").ppo.rewards[0].weight == 2.0


def test_an_unknown_variant_is_named_with_the_nearest(load) -> None:
    recipe = load(WORLD + "ppo: {variants: {no-kl: {}}}")
    with pytest.raises(RecipeError, match=r"ppo has no variant 'nokl'\. Did you mean no-kl\?"):
        variant(recipe, "nokl")
    with pytest.raises(RecipeError, match=r"ppo has no variant 'x'\. It has no-kl\."):
        variant(recipe, "x")
    with pytest.raises(RecipeError, match=r"It has none\."):
        variant(load(WORLD), "x")


@pytest.mark.parametrize(
    ("variants", "complaint"),
    [
        ("a: {kl.beta: x}", "a.kl.beta: expected a number, got the text 'x'."),
        ("a: {kl: {betta: 1.0}}", "a.kl.betta: there is no such key. Did you mean beta?"),
        ("a: {kl.beta.x: 1}", "a.kl.beta.x: kl.beta is 0.05 and no section, so it has no x."),
        (
            "a: {rewards.1.weight: 2.0}",
            "a.rewards.1.weight: rewards has 1 entry, counted from 0, and none is called 1.",
        ),
        ("a: {rewards: []}", "a.rewards: expected at least one entry, got an empty list."),
        ("a: {episodes: 10, minibatches: 3}", "a: episodes (10) must be a multiple of minibatches (3)."),
        ("a: {max_new_tokens: 512}", "a.max_new_tokens: leaves no room for a prompt: data.max_length is 512"),
        ("a: {rewards: [{kind: function, path: m}]}", "a.rewards.0.path: 'm' names no function."),
        (
            "a: {variants.b.gamma: 0.5}",
            "a.variants.b.gamma: a variant cannot have variants. Name it beside the others.",
        ),
        ("a/b: {}", "a/b: cannot name a directory. Use letters, digits, '_' and '-'."),
        ("a: 3", "a: expected a section, got 3."),
    ],
)
def test_a_mistake_in_a_variant_is_told_where_it_stands(complaints, variants: str, complaint: str) -> None:
    (told,) = complaints(f"{WORLD}ppo:\n  variants: {{{variants}}}")
    assert told.startswith(f"r.yaml:3: ppo.variants.{complaint}")


def test_a_mistake_of_ppo_itself_is_not_repeated_for_each_variant(complaints) -> None:
    variants = "variants: {a: {gamma: 0.9}, b: {}}"
    assert len(complaints(f"{WORLD}ppo: {{updates: 0, {variants}}}")) == 1
    assert len(complaints(f"{WORLD}ppo: {{max_new_tokens: 600, {variants}}}")) == 1
    assert len(complaints(f"{WORLD}stages: [sft, ppo]\nppo: {{{variants}}}")) == 1


def test_variants_of_a_stage_that_does_not_run_are_no_mistake(load) -> None:
    assert load(f"{WORLD}stages: [sft]\nppo: {{variants: {{a: {{kl.beta: 0.0}}}}}}").stages == ["sft"]


RULE = "{kind: function, path: 'rules:short'}"


@pytest.mark.parametrize(
    ("stages", "keys"),
    [
        ("[sft]", []),
        ("[sft, dpo]", ["rewards.sources.0"]),
        ("[sft, ppo]", ["rewards.sources.0", "ppo.variants.a.rewards.0", "ppo.variants.a.rewards.1"]),
    ],
)
def test_parts_of_rewards_are_those_that_a_stage_asks_for(load, stages: str, keys: list[str]) -> None:
    ppo = f"ppo: {{rewards: [{RULE}], variants: {{a: {{rewards: [{RULE}, {RULE}]}}}}}}"
    assert [key for key, _ in reward_parts(load(f"{WORLD}stages: {stages}\n{ppo}"))] == keys


@pytest.mark.parametrize("mistake", [{"gamma": "high"}, {"kl.beta.x": 1}])
def test_a_variant_that_is_a_mistake_has_no_parts(load, mistake: dict[str, object]) -> None:
    recipe = load(WORLD)
    wrong = recipe.model_copy(update={"ppo": recipe.ppo.model_copy(update={"variants": {"a": mistake}})})
    assert [key for key, _ in reward_parts(wrong)] == ["rewards.sources.0"]
