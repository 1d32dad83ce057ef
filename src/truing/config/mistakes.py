"""The mistakes found in a recipe, and the one error that tells all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from truing.core.errors import RecipeError

MOST_SHOWN = 20


@dataclass(frozen=True)
class Mistake:
    """One thing to put right."""

    key: str
    """Dotted; empty for the file as a whole"""
    what: str
    hint: str = ""
    line: int | None = None
    """From 1, in the recipe's file"""
    override: str | None = None
    """The `--set` argument it came from, instead of a line"""

    def sentence(self) -> str:
        """What is wrong and the hint, beginning with the key unless the place says it."""
        told = self.override is not None and self.override.startswith(f"{self.key}=")
        key = f"{self.key}: " if self.key and not told else ""
        return f"{key}{self.what} {self.hint}".rstrip()

    def place(self, path: Path) -> str:
        """Where to put it right: the file and its line, or the argument."""
        if self.override is not None:
            return f"--set {self.override}"
        return f"{path}:{self.line}" if self.line else str(path)


def recipe_error(path: Path, mistakes: Sequence[Mistake]) -> RecipeError:
    """All of them in one error: those of the file in its order, then those of the command line."""
    ordered = sorted(mistakes, key=lambda mistake: (mistake.override is not None, mistake.line or 0))
    if len(ordered) == 1:
        return RecipeError(ordered[0].sentence(), where=ordered[0].place(path))
    lines = [f"  {mistake.place(path)}: {mistake.sentence()}" for mistake in ordered[:MOST_SHOWN]]
    if len(ordered) > MOST_SHOWN:
        lines.append(f"  and {len(ordered) - MOST_SHOWN} more.")
    return RecipeError("\n".join([f"{len(ordered)} mistakes.", *lines]), where=str(path))
