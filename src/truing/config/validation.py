"""A document against the recipe's types and checks: what is sound of it, and every problem."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from typing import Any

from pydantic import ValidationError

from truing.config.checks import cross_checks
from truing.config.dotted import NoSuchPlaceError, assign
from truing.config.messages import place_of, problems_of
from truing.config.recipe import Recipe
from truing.config.stages import STAGES, within
from truing.config.variants import NAME, RUN_WIDE, repeated_stages
from truing.core.errors import Problem


def examine(document: dict[str, Any]) -> tuple[Recipe, list[Problem]]:
    """The recipe in a document that has all defaults written out, and its problems.

    A field that has a problem of its own is as by default in that recipe, and a variant that has one is left out.
    """
    recipe, problems = _examine(document)
    of_variants = {name: _of_variant(name, changes, document, problems) for name, changes in recipe.variants.items()}
    sound = {name: recipe.variants[name] for name, found in of_variants.items() if not found}
    return recipe.model_copy(update={"variants": sound}), [*problems, *chain.from_iterable(of_variants.values())]


def _examine(document: dict[str, Any]) -> tuple[Recipe, list[Problem]]:
    """The same, without a look into the variants."""
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        recipe, unsound = _sound_part(document)
        return recipe, [*problems_of(error, document), *cross_checks(recipe, unsound)]
    return recipe, cross_checks(recipe)


def _sound_part(document: dict[str, Any]) -> tuple[Recipe, list[str]]:
    """The recipe with whatever is wrong as by default, and the keys of that."""
    document = deepcopy(document)
    unsound: list[str] = []
    while True:  # a section may be wrong as a whole once each of its fields is right
        try:
            return Recipe.model_validate(document), unsound
        except ValidationError as error:
            for place in [place_of(details, document) for details in error.errors()]:
                unsound += _reset(document, place)


def _reset(document: dict[str, Any], place: list[str]) -> Iterator[str]:
    """Gives the innermost field around a place its default, and yields its key; removes a key that is unknown."""
    default = Recipe().model_dump()
    for depth, name in enumerate(place):
        if name not in default:
            document.pop(name, None)
            return
        if not (isinstance(default[name], dict) and isinstance(document[name], dict)) or depth == len(place) - 1:
            document[name] = default[name]
            yield ".".join(place[: depth + 1])
            return
        document, default = document[name], default[name]


def _of_variant(
    name: str, changes: dict[str, Any], document: dict[str, Any], of_recipe: Sequence[Problem]
) -> list[Problem]:
    """The problems of a variant that the recipe itself does not have."""
    found: list[Problem] = []
    if not NAME.fullmatch(name):
        what = "cannot name a directory."
        found.append(Problem("recipe/variant-name", None, what, "Use letters, digits, '_' and '-'."))
    changed = deepcopy(document) | {"variants": {}}
    for key, value in changes.items():
        if within(key, RUN_WIDE):
            hint = "Variants share the rows, base and process of their run; --fork-to begins a run with others."
            found.append(Problem("recipe/run-wide-key", key, "cannot be changed by a variant.", hint))
            continue
        try:
            assign(changed, key, value)
        except NoSuchPlaceError as error:
            found.append(Problem("recipe/no-such-place", key, str(error)))
    known = {(problem.field, problem.what) for problem in of_recipe}
    found += [problem for problem in _examine(changed)[1] if (problem.field, problem.what) not in known]
    if not found and not repeated_stages(STAGES, changes):
        what = "changes nothing that the result of a stage depends on."
        found.append(Problem("recipe/idle-variant", None, what))
    return [replace(one, field=".".join(filter(None, ("variants", name, one.field)))) for one in found]
