"""truing validate."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from truing.cli.inputs import READERS, Inputs
from truing.cli.shelf import recipe_path
from truing.data.remarks import remarks
from truing.errors import InputError, RecipeError
from truing.recipe import Recipe
from truing.recipe_files import load_recipe, sound_sections


def validate_command(recipe_file: Path, overrides: list[str]) -> None:
    """Checks the recipe, the directories of its models and every row of every file; all faults together."""
    path = recipe_path(recipe_file)
    try:
        recipe = load_recipe(path, overrides)
    except RecipeError as error:
        raise _with_those_of_its_files(error, path, overrides) from error
    inputs = Inputs(recipe)
    _tell([*inputs.sound, *inputs.remarks])
    inputs.check()
    _tell(_oddities(recipe))
    print(f"{recipe_file}: sound. Stages: {', '.join(recipe.stages)}.")


def _with_those_of_its_files(error: RecipeError, path: Path, overrides: list[str]) -> InputError:
    """The mistakes of a recipe together with the faults of the files that its sound sections name."""
    recipe = sound_sections(path, overrides)
    if recipe is None:
        return error
    inputs = Inputs(recipe, whole=False)
    _tell([*inputs.sound, *inputs.remarks])
    return InputError("\n".join(dict.fromkeys(map(str, [error, *inputs.faults])))) if inputs.faults else error


def _oddities(recipe: Recipe) -> Iterator[str]:
    """What is odd about rows that can be used, a sentence each."""
    for name in READERS:
        source = getattr(recipe.data, name)
        yield from (f"data.{name}: {sentence}" for sentence in (remarks(source) if source is not None else ()))


def _tell(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(sentence)
