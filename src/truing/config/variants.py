"""Variants of a recipe: the same with a few dotted keys changed. A run repeats the stages that a change concerns."""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from truing.config.checks import cross_checks
from truing.config.dotted import OverrideError, assign, flat
from truing.config.messages import mistakes_of
from truing.config.mistakes import Mistake
from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig
from truing.config.stages import STAGES, within

_NAME = re.compile(r"[A-Za-z0-9_-]+")
RUN_WIDE = ("name", "stages", "base", "world", "data", "variants", "track", "checkpoints")
"""What all stages of a run share"""


def variant(recipe: Recipe, name: str) -> Recipe:
    """The recipe as its variant of this name has it, without further variants."""
    document = recipe.model_dump() | {"variants": {}}
    for key, value in recipe.variants[name].items():
        assign(document, key, value)
    return Recipe.model_validate(document)


def repeated_stages(changes: dict[str, Any]) -> list[str]:
    """The kinds of stages that have another result with these changes, or build on one that has."""
    repeated: list[str] = []
    for spec in STAGES.values():
        depends = any(within(key, spec.depends_on) or _above(key, spec.depends_on) for key in changes)
        if depends or set(spec.builds_on) & set(repeated):
            repeated.append(spec.name)
    return repeated


def reward_sources(recipe: Recipe) -> Iterator[tuple[str, RewardConfig]]:
    """Every source of reward that the recipe's stages ask for, with its key; a variant that is a mistake has none."""
    if not any(STAGES[stage].makes_policy for stage in recipe.stages):
        return
    yield from ((f"rewards.sources.{index}", source) for index, source in enumerate(recipe.rewards.sources))
    for name in recipe.variants:
        try:
            sources = variant(recipe, name).rewards.sources
        except (ValidationError, OverrideError):
            continue
        if sources != recipe.rewards.sources:
            yield from ((f"variants.{name}.rewards.sources.{index}", one) for index, one in enumerate(sources))


def flatten_variants(document: dict[str, Any]) -> None:
    """Writes `{ppo: {kl: {beta: 0}}}` as `{ppo.kl.beta: 0}`, the form in which variants are kept."""
    for name, changes in _variants(document):
        document["variants"][name] = flat(changes)


def variant_mistakes(document: dict[str, Any], of_recipe: Sequence[Mistake]) -> Iterator[Mistake]:
    """What is wrong with each variant beyond what is wrong with the recipe itself."""
    known = {(mistake.key, mistake.what) for mistake in of_recipe}
    for name, changes in _variants(document):
        root = f"variants.{name}"
        if not _NAME.fullmatch(name):
            yield Mistake(root, "cannot name a directory.", "Use letters, digits, '_' and '-'.")
        for mistake in _mistakes(document, changes):
            if (mistake.key, mistake.what) not in known:
                yield Mistake(f"{root}.{mistake.key}".rstrip("."), mistake.what, mistake.hint)


def _mistakes(document: dict[str, Any], changes: dict[str, Any]) -> Iterator[Mistake]:
    changed = deepcopy(document) | {"variants": {}}
    for key, value in changes.items():
        if within(key, RUN_WIDE):
            hint = "Variants share the rows and the base of their run; --fork-to begins a run with others."
            yield Mistake(key, "cannot be changed by a variant.", hint)
            continue
        try:
            assign(changed, key, value)
        except OverrideError as error:
            yield Mistake(key, str(error))
    try:
        Recipe.model_validate(changed)
    except ValidationError as error:
        yield from mistakes_of(error, changed)
    else:
        if changes and not repeated_stages(changes):
            yield Mistake("", "changes nothing that the result of a stage depends on.")
    yield from cross_checks(changed)


def _above(key: str, fields: tuple[str, ...]) -> bool:
    """Whether a key is a section that one of these fields lies in."""
    return any(field.startswith(f"{key}.") for field in fields)


def _variants(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and changes of each variant that is of the right type; pydantic tells the others."""
    variants = document["variants"]
    pairs = variants.items() if isinstance(variants, dict) else ()
    return [(name, changes) for name, changes in pairs if isinstance(changes, dict)]
