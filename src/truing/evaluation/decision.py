"""What a stage does about its evaluations: go on, stop, or go back to an earlier step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """What was measured on held-out prompts after a step."""

    step: int
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class GoOn:
    """Training goes on."""

    pin: bool = False
    """Whether this step's checkpoint is kept, to go back to"""
    beta: float | None = None
    """The price of a nat from here on; None leaves it"""


@dataclass(frozen=True)
class Stop:
    """Training ends here."""

    reason: str
    """In result.json as `stopped_by`"""
    keeps_pinned: bool = False
    """Whether the result is the pinned step and not this one"""


@dataclass(frozen=True)
class RollBack:
    """Training goes on from the pinned checkpoint, held more firmly."""

    reason: str
    beta: float
    """The price of a nat from there on"""


Decision = GoOn | Stop | RollBack
Decide = Callable[[Sequence[Evaluation]], Decision]


def always_go_on(history: Sequence[Evaluation]) -> Decision:
    """Evaluations are recorded and change nothing."""
    return GoOn()
