"""A world of one process. Its verbs stand where several processes will have to speak to each other.

What needs them calls them as if there were several: work that can be split is shared out and gathered again, counts are
added up, one process owns the run's directory, and an error that one has is everybody's. Here each does nothing, and
`torch.distributed` is never imported.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def is_owner() -> bool:
    """Whether this process writes the run's directory, its logs and trackers, and speaks to the terminal."""
    return True


def share(work: Sequence[T]) -> Sequence[T]:
    """This process's part of work that all of them know of."""
    return work


def gather(results: dict[int, T]) -> dict[int, T]:
    """The results of every process, by the place in the whole work."""
    return results


def add_up(number: float) -> float:
    """The sum of this number over all processes."""
    return number


def from_owner(answer: Callable[[], T]) -> T:
    """What the owner answers, or the error it meets: asked once, known to all."""
    return answer()


@contextmanager
def agreed() -> Iterator[None]:
    """An error that one process raises in the block is raised by all of them at its end."""
    yield
