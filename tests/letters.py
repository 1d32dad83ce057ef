"""A reward in a module of its own, so that the process that calls it starts at once."""

from collections.abc import Sequence
from typing import Any


def letter_a(prompts: Sequence[Any], responses: Sequence[str]) -> list[float]:
    """How often a response says 'a'."""
    return [float(response.count("a")) for response in responses]
