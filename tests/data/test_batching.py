import math
from collections.abc import Sequence
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from truing.data.batching import SPLIT_COST, epoch_order, optimiser_batches, plan_by_tokens

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


def _plain_plan(lengths: list[int], budget: int) -> list[list[int]]:
    """Every beginning is tried for the last micro-batch of the longest n rows; of equals the earliest."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(order) + 1):
        areas = {start: (end - start) * lengths[order[start]] for start in range(end)}
        fits = [start for start, area in areas.items() if area <= budget or start == end - 1]
        best.append(min((best[start][0] + areas[start] + SPLIT_COST, start) for start in fits))
    plan, end = [], len(order)
    while end:
        plan.insert(0, order[best[end][1] : end])
        end = best[end][1]
    return plan


@given(
    st.sampled_from([2, 6, 20, 300]).flatmap(lambda most: st.lists(st.integers(1, most), min_size=30, max_size=60)),
    st.sampled_from([1, 30, 200, 2048, 10**6]),
)
def test_the_plan_is_the_one_that_trying_every_cut_finds(lengths: list[int], budget: int) -> None:
    assert plan_by_tokens(lengths, budget) == _plain_plan(lengths, budget)


def test_planning_costs_a_few_comparisons_a_row() -> None:
    """Counted, not timed: short rows and a large budget would have each row tried as thousands of beginnings."""
    looked_up = []

    class Length(int):
        def __mul__(self, other: int) -> int:
            looked_up.append(1)
            return int(self) * other

        __rmul__ = __mul__

    rows = 3000
    plan_by_tokens([Length(5 + row % 20) for row in range(rows)], budget=2**16)
    assert len(looked_up) < 30 * rows


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


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 200))
def test_rows_without_padding_go_into_even_parts_within_the_budget(lengths: list[int], budget: int) -> None:
    plan = plan_by_tokens(lengths, budget, padded=False)
    assert sorted(row for part in plan for row in part) == list(range(len(lengths)))
    assert all(len(part) == 1 or sum(lengths[row] for row in part) <= budget for part in plan)
    ordered = [lengths[row] for part in plan for row in part]
    assert ordered == sorted(lengths, reverse=True)


def test_parts_without_padding_are_as_few_and_as_even_as_can_be() -> None:
    assert plan_by_tokens([2, 5, 3, 3, 9], budget=100, padded=False) == [[4, 1, 2, 3, 0]]
    assert plan_by_tokens([2, 5, 3, 3, 9], budget=14, padded=False) == [[4, 1], [2, 3, 0]]
    assert plan_by_tokens([10] * 12, budget=100, padded=False) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
