"""Which rows go together: the order of an epoch, the rows of an optimiser step, micro-batches that fit in memory."""

from collections import deque
from collections.abc import Sequence
from math import ceil

from truing.core import rng

SPLIT_COST = 64
"""Padded tokens that one more micro-batch must save to be worth it: each reads every weight once more"""


def plan_by_tokens(token_counts: Sequence[int], budget: int, padded: bool = True) -> list[list[int]]:
    """Micro-batches of row indices of at most `budget` tokens each, with padding: rows × longest row.

    Rows are sorted by length, longest first, so that a batch that does not fit in memory is met at once, and cut where
    padding and `SPLIT_COST` a micro-batch come to the least; where rows are not `padded`, into as few micro-batches as
    there can be, about equally large. A row longer than the budget goes alone. Every row is in exactly one micro-batch.
    """
    order = sorted(range(len(token_counts)), key=lambda row: -token_counts[row])
    if not padded:
        return _even_parts(order, token_counts, budget)
    begins = _cheapest_cuts([token_counts[row] for row in order], budget)
    plan: list[list[int]] = []
    end = len(order)
    while end:
        start = begins[end - 1]
        plan.append(order[start:end])
        end = start
    return plan[::-1]


def _even_parts(order: Sequence[int], token_counts: Sequence[int], budget: int) -> list[list[int]]:
    """Rows in this order, cut where a part is as large as an even share, or would exceed the budget."""
    total = sum(token_counts)
    even = total / max(1, ceil(total / budget))
    parts: list[list[int]] = []
    size = even
    for row in order:
        if size >= even or size + token_counts[row] > budget:
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += token_counts[row]
    return parts


def _cheapest_cuts(lengths: Sequence[int], budget: int) -> list[int]:
    """For each row, where the micro-batch that ends with it begins, if the falling `lengths` up to it are cut best.

    A few comparisons a row, however many rows fit the budget (Galil and Park 1992, "Dynamic programming with convexity,
    concavity and sparsity"): of two beginnings the later one has the shorter rows, so once it is the better one it
    remains so, and those that can still become the best wait in a queue.
    """
    costs, begins = [0], list[int]()
    waiting = deque[int]()

    def better_from(early: int, late: int) -> int:
        """The first end for which a last micro-batch beginning at `late` is better than one beginning at `early`."""
        full = early + max(1, budget // max(1, lengths[early])) + 1
        slope = lengths[early] - lengths[late]
        lead = (costs[late] - late * lengths[late]) - (costs[early] - early * lengths[early])
        if slope == 0:
            return full if lead >= 0 else 0
        return min(full, lead // slope + 1)

    for start in range(len(lengths)):
        while len(waiting) > 1 and better_from(waiting[-1], start) <= better_from(waiting[-2], waiting[-1]):
            waiting.pop()
        waiting.append(start)
        while len(waiting) > 1 and better_from(waiting[0], waiting[1]) <= start + 1:
            waiting.popleft()
        begins.append(waiting[0])
        costs.append(costs[waiting[0]] + (start + 1 - waiting[0]) * lengths[waiting[0]] + SPLIT_COST)
    return begins


def epoch_order(count: int, seed: int, purpose: str, epoch: int) -> list[int]:
    """The row indices below `count` in the order of this epoch."""
    return rng.permutation(seed, purpose, epoch, count=count)


def optimiser_batches(count: int, batch_size: int, epochs: int, seed: int, purpose: str) -> list[list[int]]:
    """The row indices of every optimiser step of a stage; the last step of an epoch may have fewer rows."""
    return [
        order[start : start + batch_size]
        for order in (epoch_order(count, seed, purpose, epoch) for epoch in range(epochs))
        for start in range(0, count, batch_size)
    ]
