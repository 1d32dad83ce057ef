"""What a step has to go through, on rows that can be followed by hand."""

from pathlib import Path

import tiny

from truing.doctor.shadow import Shape
from truing.doctor.work import Lengths, micro_batches, pair_steps, ppo_steps, read_lengths, sampled, scoring, sft_steps
from truing.models.base import outline_base
from truing.recipe import Recipe
from truing.recipe_files.overrides import assign


def _recipe(**changes: object) -> Recipe:
    document = Recipe().model_dump()
    for key, value in changes.items():
        assign(document, key, value)
    return Recipe.model_validate(document)


def test_a_batch_is_taken_apart_by_length_within_the_budget() -> None:
    rows = [((2, 3),), ((4, 6),), ((1, 2),), ((5, 4),)]
    assert micro_batches(rows, 20) == [[Shape(2, 10, 10)], [Shape(2, 5, 5)]]
    assert micro_batches(rows, 5) == [[Shape(1, 10, 6)], [Shape(1, 9, 4)], [Shape(1, 5, 3)], [Shape(1, 3, 2)]]


def test_the_sides_of_pairs_are_shapes_of_their_own() -> None:
    rows = [((2, 3), (2, 8)), ((4, 4), (4, 1))]
    assert micro_batches(rows, 100) == [[Shape(2, 8, 7), Shape(2, 10, 9)]]


def test_sft_has_its_batches_and_the_largest_is_found() -> None:
    rows = [((1, length),) for length in range(1, 11)]
    recipe = _recipe(**{"sft.batch_size": 1, "sft.epochs": 3})
    steps = sft_steps(Lengths(rows, [], []), recipe)
    assert (steps.count, steps.largest, steps.repeated) == (30, [Shape(1, 11, 10)], False)
    assert steps.area == sum(range(2, 12)) / 10
    assert steps.share == steps.area / 11
    assert steps.row_counts == set(range(2, 12))


def test_pairs_that_do_not_fit_together_are_repeated_backwards() -> None:
    rows = [((2, 3), (2, 4))] * 8
    settings = {"reward.batch_size": 4, "dpo.batch_size": 2, "compute.learn_tokens": 22}
    reward, dpo = (pair_steps(Lengths([], rows, []), _recipe(**settings), kind) for kind in ("reward", "dpo"))
    assert (reward.count, reward.largest, reward.repeated) == (2, [Shape(2, 5, 6), Shape(2, 6, 8)], True)
    assert (dpo.count, dpo.repeated) == (4, False)


def test_responses_count_as_long_as_they_may_become() -> None:
    recipe = _recipe(**{"ppo.episodes": 4, "ppo.minibatches": 2, "ppo.epochs": 3, "ppo.max_new_tokens": 10})
    lengths = Lengths([], [], [1, 2, 3, 4, 5, 6, 7, 8])
    steps, rounds = ppo_steps(lengths, recipe), scoring(lengths, recipe)
    assert (steps.count, steps.largest) == (100 * 3 * 2, [Shape(2, 18, 20)])
    assert (rounds.count, rounds.largest, rounds.area) == (100, [Shape(4, 18, 40)], (4 * 14 + 4 * 18) / 2)


def test_as_many_rows_are_sampled_side_by_side_as_there_are_and_may_be() -> None:
    lengths = Lengths([], [], [3, 9, 5, 7])
    few, many = (sampled(lengths, _recipe(**{"compute.rollout_rows": rows}), 3) for rows in (2, 50))
    assert (few.rows, many.rows, few.count) == (2, 3, 3)
    assert (few.prompts, few.length) == ([5, 7, 9], 9 + 64)


def test_lengths_are_those_of_the_rows_that_are_learnt_from(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    assert recipe.base is not None
    lengths = read_lengths(recipe, outline_base(recipe.base, recipe.compute))
    assert len(lengths.demonstrations) == 24 - 2  # a tenth is held out
    assert {response for ((_, response),) in lengths.demonstrations} == {len("aha.") + 1}  # and eos
    assert {len(pair) for pair in lengths.preferences} == {2}
    assert len(lengths.prompts) == recipe.ppo.updates * recipe.ppo.episodes
    only_sft = recipe.model_copy(update={"stages": ["sft"]})
    assert read_lengths(only_sft, outline_base(recipe.base, recipe.compute)).prompts == []
