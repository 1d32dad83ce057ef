"""Which rows a stage learns from, and how these become tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from truing.config.sections import Data, Source
from truing.data.encode import encode_demonstrations, encode_preferences
from truing.data.length_report import LengthReport
from truing.data.rows import read_demonstrations, read_preferences


@dataclass(frozen=True)
class Learnt:
    """A kind of rows."""

    name: str
    """In the recipe's `data`, where `heldout_` before it names those that are held out"""
    read: Callable[..., list[Any]]
    encode: Callable[..., tuple[Sequence[Any], LengthReport]]

    def sources(self, data: Data) -> tuple[Source | None, Source | None]:
        """Where those to learn from are, and those that are held out, if these have a file of their own."""
        return getattr(data, self.name), getattr(data, f"heldout_{self.name}")


DEMONSTRATIONS = Learnt("demonstrations", read_demonstrations, encode_demonstrations)
PREFERENCES = Learnt("preferences", read_preferences, encode_preferences)
OF_STAGE = {"sft": DEMONSTRATIONS, "reward": PREFERENCES, "dpo": PREFERENCES}
