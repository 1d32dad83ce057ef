"""truing migrate."""

from pathlib import Path

from truing.cli.output import say, tell
from truing.cli.recipe_file import write_new_recipe
from truing.config import Migrated, migrate_recipe
from truing.config.schema import SCHEMA
from truing.core.errors import RecipeError
from truing.runs.files import write_text
from truing.runs.received import lies_in_a_run


def migrate_command(recipe: Path, to: Path | None) -> None:
    """Writes the recipe with the keys of today, in place or as a new file, and tells what was lost of it.

    RecipeError where it cannot be read, or would be written where it must not be.
    """
    migrated = migrate_recipe(recipe)
    if to is not None:
        _refuse_other_folder(recipe, to)
        write_new_recipe(to, migrated.text, "--to")
    elif migrated.text == recipe.read_text(encoding="utf-8"):
        say(f"{recipe}: is of schema {SCHEMA} already.")
        return
    else:
        _refuse_loss(recipe, migrated)
        write_text(recipe.resolve(), migrated.text)
    for sentence in migrated.notes:
        say(f"{recipe}: {sentence}")
    for comment in migrated.lost:
        tell(f"{to}: there was no place for the comment {comment}")
    say(f"{to or recipe}: written for schema {SCHEMA}.")


def _refuse_other_folder(recipe: Path, to: Path) -> None:
    """RecipeError where relative paths of a recipe would name other files; those of a run are absolute."""
    if to.resolve().parent != recipe.resolve().parent and not lies_in_a_run(recipe):
        what = "is in another folder than the recipe, whose paths begin at its own."
        hint = f"Give a --to in {recipe.resolve().parent}, and mend its paths when you move it."
        raise RecipeError(what, code="recipe/other-folder", where=str(to), hint=hint)


def _refuse_loss(recipe: Path, migrated: Migrated) -> None:
    """RecipeError where writing over the file would lose a comment, or change the record of a run."""
    if lies_in_a_run(recipe):
        what, hint = "is the record of a run, which is read as it is.", "--to FILE, outside of the run, is a copy."
        raise RecipeError(what, code="recipe/of-a-run", where=str(recipe), hint=hint)
    if migrated.lost:
        what = f"would lose comments, such as '{migrated.lost[0]}'."
        hint = "--to FILE writes another file and names each of them."
        raise RecipeError(what, code="recipe/comments-lost", where=str(recipe), hint=hint)
