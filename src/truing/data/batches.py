"""Which rows go together: the order of an epoch, the rows of an optimiser step, micro-batches that fit in memory."""

from collections.abc import Sequence

from truing import draws

SPLIT_COST = 64
"""Padded tokens that one more micro-batch must save to be worth it: each reads every weight once more"""


def plan_by_tokens(token_counts: Sequence[int], budget: int) -> list[list[int]]:
    """Micro-batches of row indices whose padded area, rows × longest row, is at most `budget` tokens.

    Rows are sorted by length, longest first, so that a batch that does not fit in memory is met at once, and cut where
    padding and `SPLIT_COST` a micro-batch come to the least. A row longer than the budget goes alone. Every row is in
    exactly one micro-batch.
    """
    order = sorted(range(len(token_counts)), key=lambda row: -token_counts[row])
    cheapest = [(0, 0)]  # for the longest n rows: their cost, and where their last micro-batch begins
    for end in range(1, len(order) + 1):
        choices: list[tuple[int, int]] = []
        for start in range(end - 1, -1, -1):
            area = (end - start) * token_counts[order[start]]
            if choices and area > budget:
                break
            choices.append((cheapest[start][0] + area + SPLIT_COST, start))
        cheapest.append(min(choices))
    plan: list[list[int]] = []
    end = len(order)
    while end:
        start = cheapest[end][1]
        plan.append(order[start:end])
        end = start
    return plan[::-1]


def epoch_order(count: int, seed: int, purpose: str, epoch: int) -> list[int]:
    """The row indices below `count` in the order of this epoch."""
    return draws.permutation(seed, purpose, epoch, count=count)


def optimiser_batches(count: int, batch_size: int, epochs: int, seed: int, purpose: str) -> list[list[int]]:
    """The row indices of every optimiser step of a stage; the last step of an epoch may have fewer rows."""
    return [
        order[start : start + batch_size]
        for order in (epoch_order(count, seed, purpose, epoch) for epoch in range(epochs))
        for start in range(0, count, batch_size)
    ]
