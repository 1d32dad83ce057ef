"""Which rows go together: the order of an epoch, the rows of an optimiser step, micro-batches that fit in memory."""

from collections.abc import Sequence

from truing import draws


def plan_by_tokens(token_counts: Sequence[int], budget: int) -> list[list[int]]:
    """Micro-batches of row indices whose padded area, rows × longest row, is at most `budget` tokens.

    Rows are sorted by length, longest first, so that little is padded and a batch that does not fit in memory is met
    at once. A row longer than the budget goes alone. Every row is in exactly one micro-batch.
    """
    plan: list[list[int]] = []
    for index in sorted(range(len(token_counts)), key=lambda row: -token_counts[row]):
        if plan and (len(plan[-1]) + 1) * token_counts[plan[-1][0]] <= budget:
            plan[-1].append(index)
        else:
            plan.append([index])
    return plan


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
