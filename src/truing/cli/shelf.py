"""Which file a recipe argument means."""

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
