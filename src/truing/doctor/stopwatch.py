"""How long work takes on this machine: measured with random weights, on copies that may have fewer layers."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

import torch

from truing.doctor.phase import Work
from truing.doctor.shadow import Shadow
from truing.doctor.tally import given_shapes
from truing.doctor.tasks import TIMES, Action
from truing.models.roles import Role

LAPS, LONG = 3, 2.0
"""How many there are at least, and seconds that they take together, if they may be so many; the middle one counts"""


def seconds(work: Work, shadow: Shadow, threads: int | None) -> float:
    """What it takes, all its times; by as many threads as the recipe says."""
    depths = shadow.timed
    copies = [_with_weights(shadow.copy(layers, work.trained), shadow) for layers in (depths.few, depths.more)]
    with _threads(threads), ExitStack() as ready:
        few, more = _laps([ready.enter_context(work.task(copy)) for copy in copies])
    return work.times * depths.grown(few, more, work.layers)


def _with_weights(role: Role, shadow: Shadow) -> Role:
    """A role on the meta device becomes one that computes."""
    whole = role.model if role.adapters is None else role.adapters.peft
    given_shapes(whole)
    with torch.no_grad():
        for part in [*whole.parameters(), *whole.buffers()]:
            part.normal_(std=0.02) if part.is_floating_point() else part.zero_()
    return shadow.equipped(role)


def _laps(actions: Sequence[Action]) -> list[float]:
    """Seconds that each takes once it has been done before.

    They take turns: what slows the machine down meanwhile should not look like what more layers take.
    """
    for action in actions:
        action()
    laps: list[list[float]] = []
    while len(laps) < LAPS or (len(laps) + 1 < TIMES and sum(map(sum, laps)) < LONG):
        laps.append([_lap(action) for action in actions])
    return [median(taken) for taken in zip(*laps, strict=True)]


def _lap(action: Action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """As many as the recipe says, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
