"""The loop of stages that learn from rows: optimiser steps over planned batches, evaluated on the way."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from truing.core.batches import Batch
from truing.training.journal import Journal
from truing.training.learner import Learner, LossFn

Micro = TypeVar("Micro")


def learn_rows(
    journal: Journal,
    learner: Learner,
    rows: Batch[Micro],
    plan: Sequence[Sequence[int]],
    losses: Sequence[LossFn[Micro]],
    shown: Sequence[str],
    evaluate: Callable[[int], dict[str, Any]] | None = None,
    every: int = 1,
    at_start: bool = True,
    remember: Callable[[], dict[str, Any]] = dict,
    count_as: str | None = None,
    ready: Callable[[Any], Batch[Micro]] = lambda batch: batch,
) -> None:
    """One optimiser step on each planned batch of rows.

    Args:
        journal: where metrics and checkpoints go.
        learner: what learns.
        rows: those to learn from.
        plan: the rows of each step, by their indices.
        losses: of a micro-batch, one for each role that learns by itself.
        shown: the metrics worth watching.
        evaluate: metrics of a step; asked every so many steps and at the last.
        every: steps between two evaluations.
        at_start: whether it is asked before the first step too.
        remember: what to keep in a checkpoint.
        count_as: the name under which a batch's count is logged, if it is.
        ready: what is made of a step's batch before it is learnt from.
    """
    steps = len(plan)
    if evaluate is not None and at_start and not journal.rows:
        journal.log(0, evaluate(0))
    for step in journal.remaining(steps):
        batch = ready(rows.rows(plan[step - 1]))
        metrics: dict[str, Any] = learner.train_step(batch, *losses)
        if count_as is not None:
            metrics[count_as] = batch.count
        if evaluate is not None and (step % every == 0 or step == steps):
            metrics |= evaluate(step)
        journal.log(step, metrics, shown)
        journal.done(step, **remember())
