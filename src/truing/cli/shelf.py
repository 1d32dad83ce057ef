"""Which file a recipe argument means."""

from pathlib import Path

from truing.config import recipe_shelf
from truing.core.errors import RecipeError
from truing.core.text import nearest


def recipe_path(argument: Path) -> Path:
    """The file itself, or the shipped recipe of that name."""
    if argument.exists():
        return argument
    shelf = recipe_shelf()
    if str(argument) in shelf:
        return shelf[str(argument)]
    close = nearest(str(argument), [*shelf, *map(str, argument.parent.glob("*.yaml"))])
    meant = f"Did you mean {close}? " if close else ""
    raise RecipeError(
        "there is no such recipe file.",
        code="recipe/no-such-file",
        where=str(argument),
        hint=f"{meant}Shipped recipes, which can be given by name: {', '.join(shelf)}.",
    )
