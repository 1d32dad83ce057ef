"""Which file a recipe argument means."""

from pathlib import Path

from truing.errors import RecipeError
from truing.recipe_files import recipe_shelf


def recipe_path(argument: Path) -> Path:
    """The file itself, or the shipped recipe of that name."""
    if argument.exists():
        return argument
    shelf = recipe_shelf()
    if str(argument) in shelf:
        return shelf[str(argument)]
    raise RecipeError(
        "there is no such recipe file.",
        where=str(argument),
        mend=f"Shipped recipes, which can be given by name: {', '.join(shelf)}.",
    )
