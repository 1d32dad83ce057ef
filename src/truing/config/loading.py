"""From a recipe's file to a checked `Recipe` or all of its problems at once, and back to text."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from truing.config.messages import problems_of, shown
from truing.config.moved import bring_up_to_date, current_key, moved_note
from truing.config.overrides import apply_override
from truing.config.paths import resolve_paths
from truing.config.recipe import Recipe
from truing.config.schema import older_note, stated_schema, take_schema
from truing.config.validation import examine
from truing.config.yaml_text import YamlText, read_yaml, write_yaml
from truing.core.errors import Problem, Problems, RecipeError

RECIPE_FILE = "recipe.yaml"
"""In a run's directory, the recipe that it was begun with"""

Note = Callable[[str], None]


def load_recipe(path: Path, overrides: Sequence[str] = (), note: Note = lambda _: None) -> Recipe:
    """The recipe in a YAML file, with `a.b=value` overrides applied; keys that have moved since go to `note`.

    A section need only name what differs from the defaults of its place. Paths in the file are meant from the file's
    own folder, or else from the current one; paths in overrides from the current one.

    Raises:
        RecipeError: all problems of the file and the overrides together.
    """
    recipe, problems = read_recipe(path, overrides, note)
    problems.check(RecipeError)
    return recipe


def read_recipe(path: Path, overrides: Sequence[str] = (), note: Note = lambda _: None) -> tuple[Recipe, Problems]:
    """The same recipe with its problems; where it has one, it is as by default.

    Raises:
        RecipeError: the file holds no recipe.
    """
    read, stated = _parsed(path)
    notes, found = bring_up_to_date(read.value)
    notes += older_note(stated, path)
    document = completed(Recipe().model_dump(), resolve_paths(read.value, path.parent))
    given: dict[str, str] = {}
    for override in overrides:
        key, wrong = apply_override(document, override)
        found += wrong
        given |= {} if wrong else {current_key(key): override}
        notes += filter(None, [moved_note(key)])
    notes += bring_up_to_date(document)[0]
    for sentence in dict.fromkeys(notes):
        note(f"{path}: {sentence}")
    recipe, wrong = examine(completed(Recipe().model_dump(), document))
    return recipe, _gathered([*found, *wrong], path, read, given)


def recorded_recipe(path: Path) -> Recipe:
    """The recipe in a run's directory, whose paths were resolved when the run was begun. RecipeError as above."""
    read, _ = _parsed(path)
    bring_up_to_date(read.value)
    document = completed(Recipe().model_dump(), read.value)
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        _gathered(problems_of(error, document), path, read).check(RecipeError)
        raise


def document_of_now(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The sections of a recipe's file with their keys of today, and a note on each that has moved.

    Raises:
        RecipeError: it holds no recipe, or something both by its older name and by that of today.
    """
    read, _ = _parsed(path)
    notes, found = bring_up_to_date(read.value)
    _gathered(found, path, read).check(RecipeError)
    return read.value, notes


def resolved_yaml(recipe: Recipe) -> str:
    """Every field of the recipe as YAML, in the order of their definition; `load_recipe` gives the same recipe back."""
    return stated_schema(write_yaml(recipe.model_dump()))


def _parsed(path: Path) -> tuple[YamlText, int | None]:
    """The text of a recipe as sections, and the schema that it states. RecipeError if it is anything else."""
    read = read_yaml(recipe_text(path))
    if not isinstance(read.value, dict):
        _gathered([] if read.problems else [_no_recipe(read.value)], path, read).check(RecipeError)
    stated, wrong = take_schema(read.value)
    _gathered(wrong, path, YamlText(lines=read.lines)).check(RecipeError)
    return read, stated


def recipe_text(path: Path) -> str:
    """What stands in a recipe's file. RecipeError where it cannot be read."""
    where = str(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "`truing recipes` lists those that come with truing."
        raise RecipeError("there is no such file.", code="recipe/no-such-file", where=where, hint=hint) from None
    except UnicodeDecodeError as error:
        what = f"the file is not text in UTF-8 (byte {error.start + 1})."
        raise RecipeError(what, code="recipe/not-utf-8", where=where, hint="Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        what, inside = f"the file cannot be read: {reason}.", path / RECIPE_FILE
        meant = f"Name the recipe in it: {inside}." if os.path.isfile(inside) else None
        raise RecipeError(what, code="recipe/unreadable", where=where, hint=meant) from None


def _no_recipe(value: Any) -> Problem:
    if value is None:
        hint = "A recipe has base: {path: ...} and data, or world: {}."
        return Problem("recipe/empty", None, "the file is empty.", hint)
    what = f"the file should hold sections such as base, data and ppo, and holds {shown(value)}."
    return Problem("recipe/no-sections", None, what)


def completed(default: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The given values over the defaults; a section given as nothing is the default one."""
    result = default | given
    for name, value in default.items():
        if isinstance(value, dict) and result[name] is None:
            result[name] = value
        elif isinstance(value, dict) and isinstance(result[name], dict):
            result[name] = completed(value, result[name])
    return result


def _gathered(found: Sequence[Problem], path: Path, read: YamlText, overrides: Mapping[str, str] = {}) -> Problems:
    """Those of the text and those `found` in it, each with its place, in the order of the lines; overrides last."""
    unread = {problem.field for _, problem in read.problems}
    lines = {current_key(key): line for key, line in read.lines.items()}
    placed = [_placed(problem, path, {problem.field or "": line}, {}) for line, problem in read.problems]
    placed += [_placed(problem, path, lines, overrides) for problem in found if problem.field not in unread - {None}]
    problems = Problems(str(path))
    for _, problem in sorted(placed, key=lambda one: one[0]):
        problems.add(problem)
    return problems


def _placed(
    problem: Problem, path: Path, lines: Mapping[str, int], overrides: Mapping[str, str]
) -> tuple[float, Problem]:
    """The problem where its key, or else a section around it, was written; and what it is sorted by."""
    override = _innermost(problem.field, overrides)
    line = _innermost(problem.field, lines) or 0
    where = problem.where or (f"--set {override}" if override else f"{path}:{line}" if line else str(path))
    named = problem.field and not where.startswith(f"--set {problem.field}=")
    what = f"{problem.field}: {problem.what}" if named else problem.what
    return math.inf if where.startswith("--set ") else line, replace(problem, where=where, what=what)


def _innermost(key: str | None, values: Mapping[str, Any]) -> Any:
    """What stands at a dotted key, or else at the nearest section around it."""
    key = key or ""
    while key not in values and key:
        key = key.rpartition(".")[0]
    return values.get(key)
