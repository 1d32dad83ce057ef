"""truing validate."""

from pathlib import Path

from truing.cli.output import tell
from truing.cli.shelf import python_beside, recipe_path
from truing.config import load_recipe, sound_sections
from truing.config.recipe import Recipe
from truing.core.errors import RecipeError
from truing.data.datasets import read_data
from truing.preflight.files import check_files
from truing.preflight.findings import Findings
from truing.preflight.functions import check_functions


def validate_command(recipe_file: Path, overrides: list[str]) -> None:
    """Checks the recipe, its models, every row of every file, and what stages make of them; all faults together."""
    path = recipe_path(recipe_file)
    recipe, found = _checked(path, overrides)
    for sentence in dict.fromkeys([*found.sound, *found.odd]):
        print(sentence)
    found.check()
    print(f"{recipe_file}: sound. Stages: {', '.join(recipe.stages)}.")


def _checked(path: Path, overrides: list[str]) -> tuple[Recipe, Findings]:
    """The recipe, or what is sound of it, and what was found."""
    try:
        recipe = load_recipe(path, overrides, tell)
    except RecipeError as error:
        part = sound_sections(path, overrides)
        if part is None:
            raise
        found = check_files(part, read_data(part, thorough=True))
        found.faults.insert(0, error)
        found.odd.append("What stages make of the rows is looked at once the recipe is sound.")
        return part, found
    datasets = read_data(recipe, thorough=True)
    found = check_files(recipe, datasets)
    with python_beside(path):
        check_functions(recipe, found)
    if recipe.base is not None:
        from truing.preflight.stages import check_stages  # imports torch

        check_stages(recipe, datasets, found, named=None)
    return recipe, found
