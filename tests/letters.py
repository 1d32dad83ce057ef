"""A reward in a module of its own, so that the process that calls it starts at once."""

from collections.abc import Sequence
from typing import Any


def letter_a(prompts: Sequence[Any], responses: Sequence[str]) -> list[float]:
    """How often a response says 'a'."""
    return [float(response.count("a")) for response in responses]


def fewer_a(prompts: Sequence[Any], pairs: Sequence[Sequence[str]]) -> list[float]:
    """Prefers the answer that says 'a' less often."""
    counts = [(first.count("a"), second.count("a")) for first, second in pairs]
    return [0.5 if first == second else float(first < second) for first, second in counts]


class Patient:
    """An environment that asks for more, of a letter drawn by the episode's seed, and counts what it gets."""

    def reset(self, prompt: Any, seed: int) -> None:
        self.letter = "abc"[seed % 3]

    def step(self, response: str) -> tuple[str, float, bool]:
        return self.letter + " ", float(response.count("a")), response.endswith("c")
