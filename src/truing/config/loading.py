"""From a recipe's file to a checked `Recipe`, telling all mistakes at once, and back to text."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from truing.config.checks import cross_checks
from truing.config.messages import mistakes_of, shown
from truing.config.mistakes import Mistake, recipe_error
from truing.config.moved import bring_up_to_date, current_key
from truing.config.overrides import apply_override
from truing.config.paths import resolve_paths
from truing.config.recipe import Recipe
from truing.config.variants import flatten_variants, variant_mistakes
from truing.config.yaml_text import YamlText, read_yaml, write_yaml
from truing.core.errors import RecipeError


def load_recipe(path: Path, overrides: Sequence[str] = (), note: Callable[[str], None] = lambda _: None) -> Recipe:
    """The recipe in a YAML file, with `a.b=value` overrides applied; keys that have moved since are told to `note`.

    A section need only name what differs from the defaults of its place. Paths in the file are meant from the file's
    own folder, or else from the current one; paths in overrides from the current one.

    Raises:
        RecipeError: all mistakes of the file and the overrides together.
    """
    document, read, given, faults = _document(path, overrides, note)
    flatten_variants(document)
    recipe, wrong = _validated(document)
    unread = {mistake.key for mistake in read.mistakes if mistake.key}
    lines = {current_key(key): line for key, line in read.lines.items()}
    faults += [_located(mistake, lines, given) for mistake in wrong if mistake.key not in unread]
    if recipe is None or faults:
        raise recipe_error(path, faults)
    return recipe


def recorded_recipe(path: Path) -> Recipe:
    """The recipe in a run's directory, whose paths were resolved when the run was begun. RecipeError as above."""
    document = _document(path, (), beside=False)[0]
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise recipe_error(path, mistakes_of(error, document)) from error


def sound_sections(path: Path, overrides: Sequence[str] = ()) -> Recipe | None:
    """A recipe with mistakes, each section or source that has one as it is by default; None where that is no recipe.

    For looking at the files that the rest of it names.
    """
    default = Recipe().model_dump()
    try:
        document = _document(path, overrides)[0]
    except RecipeError:
        return None
    document = {name: value for name, value in document.items() if name in default}
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        for section, *inner in (mistake["loc"] for mistake in error.errors()):
            if section == "data" and inner and isinstance(document["data"], dict):
                document["data"] = document["data"] | {str(inner[0]): default["data"].get(inner[0])}
            else:
                document[str(section)] = default.get(str(section))
    try:
        document["data"] = {name: document["data"][name] for name in default["data"]}
        return Recipe.model_validate(document)
    except ValidationError:
        return None


def resolved_yaml(recipe: Recipe) -> str:
    """Every field of the recipe as YAML, in the order of their definition; `load_recipe` gives the same recipe back."""
    return write_yaml(recipe.model_dump())


def _document(
    path: Path, overrides: Sequence[str], note: Callable[[str], None] = lambda _: None, beside: bool = True
) -> tuple[dict[str, Any], YamlText, dict[str, str], list[Mistake]]:
    """The recipe with all defaults written out and every key where it belongs today; paths as from `beside` the file.

    Returns:
        The document, the text it was read from, the override of each key that has one, and the mistakes so far.
    """
    read = read_yaml(_text(path))
    if not isinstance(read.value, dict):
        raise recipe_error(path, read.mistakes or [_no_recipe(read.value)])
    notes, faults = bring_up_to_date(read.value)
    document = _completed(Recipe().model_dump(), resolve_paths(read.value, path.parent) if beside else read.value)
    given: dict[str, str] = {}
    for override in overrides:
        key, wrong = apply_override(document, override)
        given |= {} if wrong else {current_key(key): override}
        faults += wrong
        if key != (older := override.partition("=")[0].strip()):
            notes.append(f"--set {older} is called {key} now.")
    moved, _ = bring_up_to_date(document)
    for sentence in dict.fromkeys([*notes, *moved]):
        note(f"{path}: {sentence}")
    return _completed(Recipe().model_dump(), document), read, given, [*read.mistakes, *faults]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "`truing recipes` lists those that come with truing."
        raise RecipeError("there is no such file.", where=str(path), hint=hint) from None
    except UnicodeDecodeError as error:
        what = f"the file is not text in UTF-8 (byte {error.start + 1})."
        raise RecipeError(what, where=str(path), hint="Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"the file cannot be read: {reason}.", where=str(path)) from None


def _no_recipe(value: Any) -> Mistake:
    if value is None:
        return Mistake("", "the file is empty.", "A recipe has base: {path: ...} and data, or world: {}.")
    return Mistake("", f"the file should hold sections such as base, data and ppo, and holds {shown(value)}.")


def _completed(default: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The given values over the defaults; a section given as nothing is the default one."""
    result = default | given
    for name, value in default.items():
        if isinstance(value, dict) and result[name] is None:
            result[name] = value
        elif isinstance(value, dict) and isinstance(result[name], dict):
            result[name] = _completed(value, result[name])
    return result


def _validated(document: dict[str, Any]) -> tuple[Recipe | None, list[Mistake]]:
    """The recipe, unless a field is wrong, and everything that is."""
    recipe, faults = None, []
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        faults = mistakes_of(error, document)
    faults += cross_checks(document)
    return recipe, [*faults, *variant_mistakes(document, faults)]


def _located(mistake: Mistake, lines: dict[str, int], given: dict[str, str]) -> Mistake:
    """The mistake with the override or line that its key, or else the nearest section around it, came from."""
    parts = mistake.key.split(".")
    keys = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    override = next((given[key] for key in keys if key in given), None)
    if override is not None:
        return replace(mistake, override=override)
    return replace(mistake, line=next((lines[key] for key in keys if key in lines), None))
