"""What a step has to go through, on rows that can be followed by hand."""

from itertools import pairwise

from truing.config.dotted import assign
from truing.config.recipe import Recipe
from truing.doctor.lengths import Lengths
from truing.doctor.passes import Shape
from truing.doctor.work import micro_batches, pair_steps, ppo_steps, sampled, scoring, sft_steps


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
    assert (steps.largest, steps.repeated) == ([Shape(1, 11, 10)], False)
    assert (steps.typical, steps.parts) == ([Shape(1, 6, 6)], 1)  # 6.5 and 5.5 tokens, rounded to even
    assert steps.row_counts == set(range(2, 12))


def test_pairs_that_do_not_fit_together_are_repeated_backwards() -> None:
    rows = [((2, 3), (2, 4))] * 8
    settings = {"reward.batch_size": 4, "dpo.batch_size": 2, "compute.learn_tokens": 22}
    reward, dpo = (pair_steps(Lengths([], rows, []), _recipe(**settings), kind) for kind in ("reward", "dpo"))
    assert (reward.largest, reward.repeated, reward.parts) == ([Shape(2, 5, 6), Shape(2, 6, 8)], True, 2)
    assert (dpo.typical, dpo.repeated, dpo.parts) == (dpo.largest, False, 1)


def test_responses_count_as_long_as_they_may_become() -> None:
    recipe = _recipe(**{"ppo.episodes": 4, "ppo.minibatches": 2, "ppo.epochs": 3, "rollout.max_new_tokens": 10})
    lengths = Lengths([], [], [1, 2, 3, 4, 5, 6, 7, 8])
    steps, rounds = ppo_steps(lengths, recipe), scoring(lengths, recipe)
    assert steps.largest == [Shape(2, 18, 20)]
    assert (rounds.largest, rounds.typical) == ([Shape(4, 18, 40)], [Shape(4, 16, 40)])


def test_responses_take_time_as_long_as_those_that_were_shown() -> None:
    recipe = _recipe(**{"ppo.episodes": 4, "rollout.max_new_tokens": 10})
    lengths = Lengths([((1, 2),), ((1, 4),), ((1, 12),), ((1, 2),)], [], [6, 6, 6, 6])
    assert lengths.responses == [2, 4, 12, 2]
    rounds = scoring(lengths, recipe)
    assert (rounds.largest, rounds.typical) == ([Shape(4, 16, 40)], [Shape(4, 16, 2 + 4 + 10 + 2)])
    assert sampled(lengths, recipe, 4).going == [1, 1, 0.5, 0.5, *[0.25] * 6]


def test_as_many_rows_are_sampled_side_by_side_as_there_are_and_may_be() -> None:
    lengths = Lengths([], [], [3, 9, 5, 7])
    few, many = (sampled(lengths, _recipe(**{"compute.rollout_rows": rows}), 3) for rows in (2, 50))
    assert (few.rows, many.rows, few.count) == (2, 3, 3)
    assert (few.longest, few.length) == (9, 9 + 64)
    # In turns of two the longest of 3, 5 and of 9, then of 7 alone; side by side of 9 and of 7.
    assert (few.padded, many.padded) == (round((5 + 9 + 7) / 3), round((9 + 7) / 2))


def test_rows_without_padding_are_laid_end_to_end() -> None:
    rows = [((2, 3),), ((4, 6),), ((1, 2),), ((5, 4),)]
    ((shape,),) = micro_batches(rows, 100, padded=False)
    assert shape == Shape(4, 10, 15, joined=27)
    assert shape.area == sum(shape.lengths) == 27
    assert all(one != other for one, other in pairwise(shape.lengths[:-1]))
