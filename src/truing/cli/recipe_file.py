"""A recipe's file, which may lie in a run that somebody sent: what is read of it, and what stands beside it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from truing.cli.output import tell
from truing.config import load_recipe
from truing.config.recipe import Recipe
from truing.core.errors import RecipeError
from truing.preflight.model_directories import base_meant
from truing.runs.received import lies_in_a_run, refuse_consents_of_a_run


def named_recipe(path: Path, overrides: list[str], say: Callable[[str], None] = tell) -> Recipe:
    """The recipe in a file that a person named. RecipeError if it is not sound, or is a run's and asks for consent."""
    recipe = load_recipe(path, overrides, say)
    refuse_consents_of_a_run(path, recipe, overrides)
    for sentence in base_meant(recipe, path.parent):
        say(sentence)
    return recipe


@contextmanager
def python_beside(recipe_file: Path) -> Iterator[None]:
    """Inside, a recipe's own Python, such as its judges, is found where it stands: beside it, unless that is a run.

    What lies in a run may be somebody else's, and would be found in the place of libraries too.
    """
    if lies_in_a_run(recipe_file):
        yield
        return
    folder = str(recipe_file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def write_new_recipe(path: Path, text: str, option: str) -> None:
    """Writes a recipe to the file that `option` of the command line names. RecipeError if it is there or refused."""
    if path.exists():
        what, hint = "exists already and is not written over.", f"Give another {option}."
        raise RecipeError(what, code="recipe/file-exists", where=str(path), hint=hint)
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        hint = f"Give another {option}, in a folder that exists."
        what = f"cannot be written: {error.strerror}."
        raise RecipeError(what, code="recipe/unwritable", where=str(path), hint=hint) from error
