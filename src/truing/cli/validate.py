"""truing validate."""

from pathlib import Path

from truing.cli.shelf import python_beside, recipe_path
from truing.errors import RecipeError
from truing.inputs.files import look_at_files, look_at_oddities
from truing.inputs.findings import Findings
from truing.inputs.functions import look_at_functions
from truing.recipe import Recipe
from truing.recipe_files import load_recipe, sound_sections


def validate_command(recipe_file: Path, overrides: list[str]) -> None:
    """Checks the recipe, its models, every row of every file, and what stages make of them; all faults together."""
    path = recipe_path(recipe_file)
    recipe, found = _looked_at(path, overrides)
    look_at_oddities(recipe, found)
    for sentence in dict.fromkeys([*found.sound, *found.odd]):
        print(sentence)
    found.check()
    print(f"{recipe_file}: sound. Stages: {', '.join(recipe.stages)}.")


def _looked_at(path: Path, overrides: list[str]) -> tuple[Recipe, Findings]:
    """The recipe, or what is sound of it, and what was found."""
    try:
        recipe = load_recipe(path, overrides)
    except RecipeError as error:
        part = sound_sections(path, overrides)
        if part is None:
            raise
        found = look_at_files(part, shown=None)
        found.faults.insert(0, error)
        found.odd.append("What stages make of the rows is looked at once the recipe is sound.")
        return part, found
    found = look_at_files(recipe, shown=None)
    with python_beside(path):
        look_at_functions(recipe, found)
    if recipe.base is not None:
        from truing.inputs.stages import look_at_stages  # imports torch

        look_at_stages(recipe, found, named=None)
    return recipe, found
