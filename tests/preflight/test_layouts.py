"""What a process holds, against counts made by hand for a toy decoder and torch's own counts of real shapes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from toy_decoder import FOUR, SHARED, TOY
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from truing.config.recipe import Recipe
from truing.preflight.held_by_recipe import models_of, numbers_of
from truing.preflight.layouts import Layout, Models, Numbers, Shape, held
from truing.preflight.shapes import shape_of

NUMBERS = Numbers(
    rank=3, compute_bytes=4, quantised=False, learn_tokens=5, checkpointing=False, adapted=1.0, rows=7, row_tokens=11
)


def _on_meta(config: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]


def test_the_shape_of_a_gpt2_has_its_positions_and_layers_of_another_kind() -> None:
    model = _on_meta(GPT2Config(n_layer=3, n_embd=8, n_head=2, vocab_size=30, n_positions=16))
    found = shape_of(model)
    assert (found.products, found.ends) == (12 * 8 * 8, (8 + 24) + (8 + 8) + (8 + 32) * 2)
    assert (found.others, found.rest) == (9 * 8 + 4 * 8, 16 * 8 + 2 * 8)
    assert found.parameters == model.num_parameters()


def test_the_shape_of_a_llama_is_that_of_its_config() -> None:
    config = LlamaConfig(
        num_hidden_layers=2,
        hidden_size=8,
        intermediate_size=20,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=30,
        tie_word_embeddings=True,
    )
    assert shape_of(_on_meta(config)) == Shape(
        layers=2,
        width=8,
        query_width=8,
        key_width=4,
        products=2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 20,
        ends=(8 + 8) * 2 + (8 + 4) * 2 + (8 + 20) * 3,
        others=2 * 8,
        vocabulary=30 * 8,
        projection=30 * 8,
        rest=8,
    )


def test_four_models_in_one_process_take_40_bytes_a_parameter_and_a_checkpoint_24_more() -> None:
    found = held(TOY, FOUR, NUMBERS, Layout())
    assert found.kept + found.gradients == 40 * 280
    assert found.saved == 24 * 280
    assert (found.gathered, found.gathered_policy, found.loading) == (0, 0, 0)
    # 2 layers keep, of each of 5 tokens, 4 hidden states of 4 and the 30 ends of products.
    assert found.activations == 2 * 5 * (16 + 30) * 4
    assert found.caches == 2 * 7 * 11 * (2 * 2) * 4
    assert found.peak_on_cpu == (4 * 4 + 2 * 8) * 280 + 24 * 280
    # The checkpoint is copied to the machine's memory: a GPU has gradients, and what learning keeps, at its worst.
    assert found.peak == 40 * 280 + found.activations


def test_rows_shared_change_nothing_but_the_rows() -> None:
    assert held(TOY, FOUR, NUMBERS, Layout(data=4)) == held(TOY, FOUR, NUMBERS, Layout())


def test_a_shard_is_a_share_of_everything_but_what_is_gathered() -> None:
    found = held(TOY, FOUR, NUMBERS, Layout(data=4, shard=True))
    assert found.kept + found.gradients == 40 * 70
    assert found.saved == 24 * 70
    # Two layers, and the vocabulary with its gradient, beside this process's own rows of them.
    assert found.gathered == 4 * (2 * 110 + 2 * 40)
    assert found.gathered_policy == 4 * 280
    # Two whole layers, the vocabulary and the rest, before the 70 of its own are there.
    assert found.loading == 4 * (2 * 110 + 40 + 20 - 70)


def test_a_slice_leaves_norms_whole_and_is_never_gathered() -> None:
    found = held(TOY, FOUR, NUMBERS, Layout(tensor=2))
    assert found.kept + found.gradients == 40 * (240 / 2 + 40)
    # Of each token 4 hidden states of 4, the two of them that go into products, and half of the ends of products.
    assert found.activations == 2 * 5 * (16 + 8 + 30 / 2) * 4
    assert found.caches == 2 * 7 * 11 * 2 * 4
    assert (found.gathered, found.gathered_policy) == (0, 0)
    deep = replace(TOY, layers=10)  # of which two are asked before, and are fewer than half of all
    assert held(deep, FOUR, NUMBERS, Layout(tensor=2)).loading == 4 * (40 / 2 + 100)


def test_a_stage_holds_its_layers_and_an_end_of_the_vocabulary_and_the_whole_policy_while_that_samples() -> None:
    """Of a toy of two layers the stage that holds most has one of 110, the vocabulary's 40, the 20 of the rest."""
    found = held(TOY, FOUR, NUMBERS, Layout(pipeline=2))
    assert found.kept + found.gradients == 40 * 170
    assert found.saved == 24 * 170
    assert [found.gathered_policy, found.loading] == pytest.approx([4 * 110] * 2)
    # Of ten layers, it reads one of another stage at a time, and the other end of a vocabulary that is not tied.
    deep = replace(TOY, layers=10, projection=15)
    assert held(deep, FOUR, NUMBERS, Layout(pipeline=2)).loading == 4 * (25 + 110)
    # Two micro-batches of 5 tokens are under way in its one layer: as many as one in two.
    assert found.activations == 2 * 5 * (16 + 30) * 4
    assert found.caches == 2 * 7 * 11 * (2 * 2) * 4
    assert held(TOY, SHARED, NUMBERS, Layout(pipeline=2)).adapters == 36 * (30 * 3)


def test_a_pipeline_has_four_micro_batches_for_each_stage_and_shares_sampling() -> None:
    recipe = Recipe.model_validate({"ppo": {"episodes": 64, "minibatches": 1}, "compute": {"rollout_rows": 64}})
    found = [numbers_of(recipe, "ppo", layout, 16) for layout in (Layout(), Layout(pipeline=2), Layout(2, pipeline=4))]
    assert [one.learn_tokens for one in found] == [64 * 16, 64 // 8 * 16, 64 // 32 * 16]
    assert [one.rows for one in found] == [64, 32, 8]


def test_adapters_on_one_base_take_36_bytes_a_parameter_of_an_adapter() -> None:
    adapter = 2 * 30 * 3
    found = held(TOY, SHARED, NUMBERS, Layout())
    assert found.kept == 4 * 280 + 36 * adapter
    assert found.gradients == 0  # they are counted with the adapters
    assert held(TOY, SHARED, NUMBERS, Layout(tensor=2)).adapters == 36 * adapter * 3 / 4
    assert held(TOY, SHARED, NUMBERS, Layout(data=2, shard=True)).adapters == 36 * adapter


def test_in_4_bit_a_product_takes_what_bitsandbytes_was_seen_to_keep_of_it() -> None:
    """Of a layer of 3,584 by 18,944: its numbers, their scales and the scales of these, without tables of 1 KB."""
    seen, products = 33_947_648 + 1_060_864 + 16_576, 2 * 100
    frozen = held(TOY, SHARED, replace(NUMBERS, quantised=True), Layout()).weights
    assert frozen == pytest.approx(products * seen / (3584 * 18_944) + 4 * (280 - products), rel=1e-4)


def test_a_micro_batch_has_at_most_the_rows_of_a_process() -> None:
    recipe = Recipe.model_validate({"sft": {"batch_size": 16}, "reward": {"batch_size": 16}})
    tokens = [
        numbers_of(recipe, stage, Layout(data=data), 64).learn_tokens
        for stage, data in (("sft", 1), ("sft", 4), ("sft", 5), ("reward", 1), ("reward", 2))
    ]
    assert tokens == [16 * 64, 4 * 64, 4 * 64, 2048, 16 * 64]


def test_layouts_are_told_as_they_are_typed() -> None:
    assert Layout(data=4, shard=True).options == "--processes 4 --set compute.shard=true"
    assert Layout(data=2, tensor=2).options == "--processes 4 --tp 2"
    assert Layout(data=2, pipeline=3).options == "--processes 6 --pp 3"
    assert Layout().options == ""


@pytest.mark.parametrize(
    ("roles", "stage", "expected"),
    [
        ("shared", "reward", Models(0, 1, 3, 0, True)),
        ("shared", "ppo", Models(0, 1, 2, 6, True)),  # three members, and an adapter of three times their rank
        ("separate", "reward", Models(3, 0, 0, 0, True)),
        ("separate", "ppo", Models(2, 5, 0, 0, True)),  # reference, three members and the model of averaged weights
    ],
)
def test_members_of_a_reward_model_are_held_each(roles: str, stage: str, expected: Models) -> None:
    recipe = Recipe.model_validate({"world": {}, "roles": roles, "reward": {"members": 3}})
    assert models_of(recipe, stage) == expected


@pytest.mark.parametrize(
    ("roles", "stage", "expected"),
    [
        ("shared", "ppo", Models(0, 1, 2, 1, True)),  # policy, critic and one reward model, which is its own mean
        ("separate", "ppo", Models(2, 2, 0, 0, True)),  # and the reference
        ("shared", "grpo", Models(0, 1, 1, 1, True)),
    ],
)
def test_one_reward_model_is_held_once(roles: str, stage: str, expected: Models) -> None:
    assert (
        models_of(Recipe.model_validate({"world": {}, "stages": ["reward", stage], "roles": roles}), stage) == expected
    )


def test_a_policys_adapter_is_on_its_share_of_the_layers_and_a_reward_models_on_all() -> None:
    of_rows = {stage: {"batch_size": 8} for stage in ("reward", "dpo")}
    told = {"world": {}, "stages": ["reward", "ppo", "dpo"], "lora": {"layers": 0.5}} | of_rows
    recipe = Recipe.model_validate(told)
    found = {stage: models_of(recipe, stage).adapters_trained for stage in recipe.stages}
    assert found == {"reward": 1, "ppo": 2 * 0.5, "dpo": 0.5}
    assert {stage: numbers_of(recipe, stage, Layout(), 16).adapted for stage in recipe.stages} == {
        "reward": 1.0,
        "ppo": 0.5,
        "dpo": 0.5,
    }
    apart = recipe.model_copy(update={"roles": "separate"})  # whole models learn
    assert numbers_of(apart, "ppo", Layout(), 16).adapted == 1.0


def test_what_the_recipe_says_is_what_is_counted_with() -> None:
    """An update of 64 responses in four minibatches, and 24 held-out prompts that a policy answers side by side."""
    told = {
        "base": {"path": "somewhere", "quantize": "nf4"},
        "ppo": {"episodes": 64, "minibatches": 4},
        "dpo": {"batch_size": 8},
        "evaluation": {"prompts": 24},
        "compute": {"gradient_checkpointing": True, "learn_tokens": 10**6, "rollout_rows": 100},
    }
    recipe = Recipe.model_validate(told)
    found = numbers_of(recipe, "ppo", Layout(), 10)
    assert (found.learn_tokens, found.rows) == (64 // 4 * 10, 64)
    assert numbers_of(recipe, "dpo", Layout(), 10).rows == 24
    assert (found.quantised, found.checkpointing) == (True, True)
    assert not numbers_of(Recipe.model_validate({"base": {"path": "somewhere"}}), "ppo", Layout(), 10).quantised


@pytest.mark.parametrize(("stage", "frozen"), [("dpo", 1), ("kto", 1), ("simpo", 0), ("orpo", 0)])
def test_a_loss_without_a_reference_holds_none(stage: str, frozen: int) -> None:
    apart = Recipe.model_validate({"world": {}, "stages": [stage], "roles": "separate"})
    assert models_of(apart, stage) == Models(1, frozen, 0, 0, True)
    shared = Recipe.model_validate({"world": {}, "stages": [stage]})
    assert models_of(shared, stage) == Models(0, 1, 1, 0, True)


def test_layers_computed_in_one_keep_five_hidden_states_less_than_the_ends_of_products() -> None:
    found = held(TOY, FOUR, replace(NUMBERS, fused=True), Layout())
    assert found.activations == 2 * 5 * (30 - 5 * 4) * 4
    assert numbers_of(Recipe.model_validate({}), "ppo", Layout(), 16, fused=True).fused
    cut = held(TOY, FOUR, replace(NUMBERS, fused=True), Layout(tensor=2))  # but what attention and perceptron add to
    assert cut.activations == 2 * 5 * (2 * 4 + (30 - 5 * 4 - 2 * 4) / 2) * 4


def test_of_one_micro_batch_gradients_come_as_activations_go() -> None:
    one = Models(trained=1, frozen=0, adapters_trained=0, adapters_frozen=0, samples=False)
    several, single = (
        held(TOY, one, replace(NUMBERS, learn_tokens=15, accumulates=accumulates), Layout(data=4, shard=True))
        for accumulates in (True, False)
    )
    gathered = 4 * (2 * 110 + 2 * 40)
    assert several.peak == 3 * 4 * 70 + 4 * 70 + 2 * 15 * (16 + 30) * 4 + gathered
    assert single.peak == 3 * 4 * 70 + 2 * 15 * (16 + 30) * 4 + gathered
    other_role = held(TOY, FOUR, replace(NUMBERS, accumulates=False), Layout())
    assert other_role.accumulates  # the critic's gradients are there as the policy learns
    recipe = Recipe.model_validate({"sft": {"batch_size": 16}, "compute": {"learn_tokens": 16 * 64}})
    found = [numbers_of(recipe, "sft", layout, 64) for layout in (Layout(), Layout(pipeline=2))]
    assert [found[0].accumulates, found[1].accumulates] == [False, True]
    assert numbers_of(recipe, "sft", Layout(), 65).accumulates


def test_an_owner_of_parts_holds_a_whole_base_in_the_end() -> None:
    slight = replace(NUMBERS, rank=1, learn_tokens=1, rows=0)
    adapters = 36 * 30
    found = held(TOY, SHARED, slight, Layout(pipeline=2))
    assert found.peak_on_cpu == pytest.approx(4 * 170 + adapters + 4 * 280)
    assert found.peak < found.peak_on_cpu
    assert held(TOY, SHARED, slight, Layout(data=2)).merged == 0


def test_products_that_are_copied_to_sample_by_are_there_beside_its_caches() -> None:
    """Two layers of 100 numbers, once more; what learning takes is less here."""
    sampling = replace(NUMBERS, rows=1000)
    plain, copied = (held(TOY, SHARED, replace(sampling, copied=copies), Layout()) for copies in (False, True))
    assert copied.peak - plain.peak == 2 * 100 * NUMBERS.compute_bytes
    assert held(TOY, SHARED, replace(sampling, copied=True), Layout(tensor=2)).copied == copied.copied / 2
    assert held(TOY, replace(SHARED, samples=False), replace(sampling, copied=True), Layout()).copied == 0


@pytest.mark.parametrize(
    ("changes", "layout", "expected"),
    [
        ({"compute": {"dtype": "bfloat16"}}, Layout(), True),
        ({"compute": {"dtype": "float32"}}, Layout(), False),
        ({"compute": {"dtype": "bfloat16"}}, Layout(data=2), True),
        ({"compute": {"dtype": "bfloat16"}}, Layout(tensor=2), True),
        ({"compute": {"dtype": "bfloat16"}}, Layout(pipeline=2), False),
        ({"compute": {"dtype": "bfloat16"}, "base": {"path": "x", "quantize": "nf4"}}, Layout(), False),
    ],
)
def test_products_in_bfloat16_are_copied(changes: dict[str, Any], layout: Layout, expected: bool) -> None:
    recipe = Recipe.model_validate(changes)
    assert numbers_of(recipe, "ppo", layout, 16, copied=True).copied == expected
