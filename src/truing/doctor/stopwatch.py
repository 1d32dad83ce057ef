"""How long work takes on this machine: measured with random weights on the copies of few layers that are counted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch

from truing.doctor.phase import Work
from truing.doctor.shadow import Shadow
from truing.doctor.tally import given_shapes
from truing.models.roles import Role

LAPS, LONG = 3, 0.1
"""How many there are at least, and seconds that they take together; the middle one counts"""


def seconds(work: Work, shadow: Shadow, threads: int | None) -> float:
    """What it takes, all its times; by as many threads as the recipe says."""
    low, high = shadow.sizes
    with _threads(threads):
        compiling, few = _lap(work.task(_with_weights(shadow.copy(low, work.trained), shadow)))
        _, more = _lap(work.task(_with_weights(shadow.copy(high, work.trained), shadow)))
    return work.times * (shadow.grown(few, more, work.layers) + work.fresh * compiling)


def _with_weights(role: Role, shadow: Shadow) -> Role:
    """A role on the meta device becomes one that computes."""
    whole = role.model if role.adapters is None else role.adapters.peft
    given_shapes(whole)
    with torch.no_grad():
        for part in [*whole.parameters(), *whole.buffers()]:
            part.normal_(std=0.02) if part.is_floating_point() else part.zero_()
    return shadow.equipped(role)


def _lap(action: Callable[[], object]) -> tuple[float, float]:
    """(what the first time takes longer, what it takes from then on), seconds."""
    laps: list[float] = []
    spent = 0.0
    while len(laps) <= LAPS or spent < LONG:
        start = time.perf_counter()
        action()
        laps.append(time.perf_counter() - start)
        spent += laps[-1]
    usual = median(laps[1:])
    return max(0.0, laps[0] - usual), usual


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """As many as the recipe says, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
