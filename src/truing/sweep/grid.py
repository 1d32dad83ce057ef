"""The grid of a sweep: every combination of the values that were given, each a recipe of its own.

The variants of a recipe are points of its grid too: in a sweep, what a variant changes is one more value to compare.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from truing.config import resolved_yaml
from truing.config.dotted import value_at
from truing.config.moved import current_key
from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.config.variants import repeated_stages
from truing.config.yaml_text import read_yaml
from truing.core.errors import Problem, RecipeError

Load = Callable[[list[str]], Recipe]
"""The recipe with these overrides. RecipeError if it is not sound"""
NO_VARIANTS = "variants={}"


@dataclass(frozen=True)
class Point:
    """One recipe of the grid."""

    overrides: tuple[str, ...]
    """`key=value`, all that were given and those that make this point"""
    recipe: Recipe
    values: Mapping[str, Any]
    """What it has at each key that differs between points"""

    @property
    def label(self) -> str:
        """'ppo.kl.beta=0.1, ppo.epochs=2'; empty where there is one point alone."""
        return as_label(self.values)


def as_label(values: Mapping[str, Any]) -> str:
    """'ppo.kl.beta=0.1, ppo.epochs=2': text as it is, the rest as JSON."""
    shown = {key: value if isinstance(value, str) else _as_json(value) for key, value in values.items()}
    return ", ".join(f"{key}={value}" for key, value in shown.items())


def read_grid(overrides: Sequence[str], load: Load) -> list[Point]:
    """Every point of the grid once, in the order in which its values were given.

    Args:
        overrides: `key=value`, or `key=first,second` for a key that the grid has several values of, which are read as
            the entries of a YAML list in one line.
        load: reads the recipe.

    Raises:
        RecipeError: everything that is wrong with the options or with a point, which is named.
    """
    axes = [_axis(override) for override in overrides]
    _refuse_misread(axes)
    recipes = _loaded(axes, load)
    keys = [_key(axis) for axis in axes if len(axis) > 1]
    found: dict[str, tuple[tuple[str, ...], Recipe]] = {}
    for given, recipe in recipes:
        _refuse_idle(keys, recipe)
        for changes in [{}, *recipe.variants.values()]:
            own = (*given, *(f"{key}={_as_json(value)}" for key, value in changes.items()), NO_VARIANTS)
            point = load(list(own)) if recipe.variants else recipe
            found.setdefault(resolved_yaml(point), (own if recipe.variants else given, point))
    keys += [key for _, recipe in recipes for changes in recipe.variants.values() for key in changes]
    documents = [recipe.model_dump() for _, recipe in found.values()]
    differing = [key for key in dict.fromkeys(keys) if len({_as_json(value_at(one, key)) for one in documents}) > 1]
    return [
        Point(own, recipe, {key: value_at(document, key) for key in differing})
        for (own, recipe), document in zip(found.values(), documents, strict=True)
    ]


def _axis(override: str) -> list[str]:
    """The override, or one for each of the values that it has."""
    key, equals, text = override.partition("=")
    values = read_yaml(f"[{text}]")
    if not equals or values.problems or not isinstance(values.value, list) or len(values.value) < 2:
        return [override]
    return [f"{key.strip()}={_as_json(value)}" for value in values.value]


def _key(axis: Sequence[str]) -> str:
    return current_key(axis[0].partition("=")[0].strip())


def _refuse_misread(axes: Sequence[Sequence[str]]) -> None:
    """RecipeError for several values of what cannot have them, and for one that is named twice."""
    for axis in axes:
        twice = [value for value, count in Counter(axis).items() if count > 1]
        if twice:
            what, hint = f"{twice[0]} is named twice.", "Name each value once; --seeds N repeats a point."
            raise RecipeError(what, code="recipe/doubled-value", where=f"--set {_key(axis)}", hint=hint)
    if any(_key(axis) == "seed" for axis in axes if len(axis) > 1):
        what, hint = "seed has several values.", "Give --seeds N instead: it counts from the recipe's seed."
        raise RecipeError(what, code="recipe/swept-seed", where="--set seed", hint=hint)


def _refuse_idle(keys: Sequence[str], recipe: Recipe) -> None:
    """RecipeError where a key makes no difference to any stage, or where none makes a policy to compare."""
    if not any(STAGES[stage].makes_policy for stage in recipe.stages):
        what = f"no stage of {', '.join(recipe.stages)} makes a policy, and policies are what a sweep compares."
        raise RecipeError(what, code="recipe/no-policy", field="stages", hint="Name such a stage in stages.")
    for key in keys:
        if not repeated_stages(recipe.stages, [key]):
            what = f"{key} has several values, and none of {', '.join(recipe.stages)} has another result by it."
            hint = "Name it once, or leave it out."
            raise RecipeError(what, code="recipe/idle-axis", where=f"--set {key}", hint=hint)


def _loaded(axes: Sequence[Sequence[str]], load: Load) -> list[tuple[tuple[str, ...], Recipe]]:
    """The recipe of every combination. RecipeError with what is wrong with all of them, each problem once."""
    recipes: list[tuple[tuple[str, ...], Recipe]] = []
    problems: dict[Problem, list[str]] = {}
    for given in product(*axes):
        try:
            recipes.append((given, load(list(given))))
        except RecipeError as error:
            point = ", ".join(one for one, axis in zip(given, axes, strict=True) if len(axis) > 1)
            for problem in error.problems:
                problems.setdefault(problem, []).append(point)
    parts = list(_of_points(problems, prod(map(len, axes))))
    if len(parts) == 1:
        raise RecipeError(**vars(parts[0]))
    if parts:
        raise RecipeError(f"{len(parts)} problems.", code="recipe/bad-points", where="the grid", parts=parts)
    return recipes


def _of_points(problems: Mapping[Problem, Sequence[str]], count: int) -> Iterator[Problem]:
    """The problems; one that not all points have names the first that has it."""
    for problem, points in problems.items():
        named = len(points) == count or points[0] in (problem.where or "")
        yield problem if named else replace(problem, where=", ".join(filter(None, [problem.where, f"at {points[0]}"])))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
