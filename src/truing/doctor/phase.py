"""A phase: part of a stage, with what it holds at its peak and what it has to compute."""

from dataclasses import dataclass, field

from truing.doctor.tasks import Task

Parts = dict[str, float]
"""Bytes by what they are for"""


@dataclass(frozen=True)
class Work:
    """Something to compute."""

    task: Task
    trained: str
    """What of the role learns: `full`, an `adapter`, or nothing where it is `frozen`"""
    layers: int
    """Layers that it goes through"""
    times: float = 1.0
    """How often it is done"""


@dataclass(frozen=True)
class Phase:
    """A part of a stage that has a peak of its own."""

    stage: str
    name: str
    parts: Parts
    work: list[Work] = field(default_factory=list)
    """Of one step, or of one update of PPO"""
    row_counts: frozenset[int] = frozenset()
    """Different numbers of tokens that meet the weights at once, in all its steps"""
    compiled: float = 0.0
    """Products that oneDNN compiles for each of these"""

    @property
    def bytes(self) -> float:
        """All parts together, without what the process itself takes."""
        return sum(self.parts.values())
