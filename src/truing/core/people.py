"""People whom a run asks while it waits: what they are shown, and what they say."""

from collections.abc import Sequence
from typing import Protocol

from truing.core.records import Text


class Comparison(Protocol):
    """Two answers to a prompt: which is better?"""

    @property
    def id(self) -> str:
        """Of what is asked alone."""

    @property
    def prompt(self) -> Text:
        """What both answer."""

    @property
    def first(self) -> str:
        """One answer."""

    @property
    def second(self) -> str:
        """The other."""

    @property
    def newer_is_first(self) -> bool:
        """Which of them the policy gave later, which people do not see."""


class People(Protocol):
    """Who is asked."""

    def votes(self, stage: str, look: int, asked: Sequence[Comparison]) -> dict[str, list[float]]:
        """By its id, what people said of each: 1 the first answer is better, 0 the second, 0.5 neither.

        Nothing of one that nobody judged.

        Raises:
            WaitingError: not all of them are judged yet, and this is not waited for any longer.
        """
