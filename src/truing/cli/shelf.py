"""Which file a recipe argument means, and what stands beside it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from truing.config import recipe_shelf
from truing.core.errors import RecipeError


def recipe_path(argument: Path) -> Path:
    """The file itself, or the shipped recipe of that name."""
    if argument.exists():
        return argument
    shelf = recipe_shelf()
    if str(argument) in shelf:
        return shelf[str(argument)]
    raise RecipeError(
        "there is no such recipe file.",
        code="recipe/no-such-file",
        where=str(argument),
        hint=f"Shipped recipes, which can be given by name: {', '.join(shelf)}.",
    )


@contextmanager
def python_beside(recipe_file: Path) -> Iterator[None]:
    """Inside, a recipe's own Python, such as its judges, is found where it stands: beside it."""
    folder = str(recipe_file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
