import math
from collections.abc import Sequence
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from truing.data.batches import SPLIT_COST, epoch_order, optimiser_batches, plan_by_tokens

LENGTHS = st.lists(st.integers(1, 50), max_size=40)


@given(LENGTHS, st.integers(1, 200))
def test_every_row_is_in_one_micro_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    plan = plan_by_tokens(lengths, budget)
    assert sorted(row for batch in plan for row in batch) == list(range(len(lengths)))
    for batch in plan:
        assert batch
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), st.integers(1, 900))
def test_longer_rows_come_first_and_no_other_cut_costs_less(lengths: list[int], budget: int) -> None:
    """Held to every way of cutting the sorted rows."""
    plan = plan_by_tokens(lengths, budget)
    falling = sorted(lengths, reverse=True)
    assert [lengths[row] for batch in plan for row in batch] == falling

    def cost(cuts: Sequence[int]) -> float:
        parts = [falling[a:b] for a, b in pairwise([0, *cuts, len(falling)])]
        fit = all(len(part) == 1 or len(part) * part[0] <= budget for part in parts)
        return sum(len(part) * part[0] + SPLIT_COST for part in parts) if fit else math.inf

    places = range(1, len(falling))
    every = [cost(cuts) for count in range(len(falling)) for cuts in combinations(places, count)]
    chosen = [sum(map(len, plan[:n])) for n in range(1, len(plan))]
    assert cost(chosen) == min(every)


def test_little_is_padded_where_lengths_differ_much() -> None:
    """64 prompts of 16 tokens with responses of 4 to 130."""
    lengths = [16 + 4 + 2 * row for row in range(64)]
    padded = sum(len(batch) * lengths[batch[0]] for batch in plan_by_tokens(lengths, budget=2048))
    assert padded <= 1.1 * sum(lengths)


def test_by_hand() -> None:
    assert plan_by_tokens([2, 5, 3, 3, 9], budget=8) == [[4], [1], [2, 3], [0]]
    assert plan_by_tokens([2, 5, 3, 3, 9], budget=100) == [[4, 1, 2, 3, 0]]
    assert plan_by_tokens([10, 400, 10], budget=2000) == [[1], [0, 2]]


@given(st.integers(0, 50), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_takes_every_row_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(count, seed, "sft", epoch)) == list(range(count))


def test_the_order_is_a_function_of_seed_purpose_and_epoch() -> None:
    order = epoch_order(100, 1, "sft", 0)
    assert order == epoch_order(100, 1, "sft", 0)
    others = [epoch_order(100, 2, "sft", 0), epoch_order(100, 1, "reward", 0), epoch_order(100, 1, "sft", 1)]
    assert order not in others


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3))
def test_optimiser_batches_are_the_epochs_cut_to_size(count: int, size: int, epochs: int) -> None:
    batches = optimiser_batches(count, size, epochs, 7, "reward")
    steps = -(-count // size)
    assert len(batches) == epochs * steps
    for epoch in range(epochs):
        cut = batches[epoch * steps : (epoch + 1) * steps]
        assert [row for batch in cut for row in batch] == epoch_order(count, 7, "reward", epoch)
        assert {len(batch) for batch in cut[:-1]} <= {size}
        assert 1 <= len(cut[-1]) <= size
