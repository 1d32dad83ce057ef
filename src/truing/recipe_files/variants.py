"""The variants of a stage: the same section with a few dotted keys changed."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from truing.errors import RecipeError
from truing.recipe import Ppo, Recipe, RewardSource
from truing.recipe_files.checks import ppo_checks
from truing.recipe_files.mistakes import Mistake
from truing.recipe_files.overrides import OverrideError, assign, flat
from truing.recipe_files.wording import mistakes_of, nearest

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def variant(recipe: Recipe, name: str) -> Recipe:
    """The recipe with `ppo` as its variant of this name has it, and without further variants.

    Raises:
        RecipeError: there is no such variant.
    """
    variants = recipe.ppo.variants
    if name not in variants:
        close = nearest(name, list(variants))
        mend = f"Did you mean {close}?" if close else f"It has {', '.join(variants) or 'none'}."
        raise RecipeError(f"ppo has no variant {name!r}.", mend=mend)
    ppo = recipe.ppo.model_dump() | {"variants": {}}
    for key, value in variants[name].items():
        assign(ppo, key, value)
    return recipe.model_copy(update={"ppo": Ppo.model_validate(ppo)})


def reward_parts(recipe: Recipe) -> Iterator[tuple[str, RewardSource]]:
    """Every part of a reward that the recipe's stages ask for, with its key; a variant that is a mistake has none."""
    if {"ppo", "dpo"} & set(recipe.stages):
        yield from ((f"ppo.rewards.{index}", part) for index, part in enumerate(recipe.ppo.rewards))
    for name in recipe.ppo.variants if "ppo" in recipe.stages else ():
        try:
            rewards = variant(recipe, name).ppo.rewards
        except (ValidationError, OverrideError):
            continue
        yield from ((f"ppo.variants.{name}.rewards.{index}", part) for index, part in enumerate(rewards))


def flatten_variants(document: dict[str, Any]) -> None:
    """Writes `{kl: {beta: 0}}` as `{kl.beta: 0}`, the form in which variants are kept."""
    for name, changes in _variants(document):
        document["ppo"]["variants"][name] = flat(changes)


def variant_mistakes(document: dict[str, Any], of_ppo: list[Mistake]) -> Iterator[Mistake]:
    """What is wrong with each variant beyond what is wrong with `ppo` itself."""
    told = {(mistake.key.removeprefix("ppo").lstrip("."), mistake.what) for mistake in of_ppo}
    for name, changes in _variants(document):
        root = f"ppo.variants.{name}"
        if not _NAME.fullmatch(name):
            yield Mistake(root, "cannot name a directory.", "Use letters, digits, '_' and '-'.")
        for mistake in _mistakes(document, changes, root):
            if (mistake.key.removeprefix(root).lstrip("."), mistake.what) not in told:
                yield mistake


def _mistakes(document: dict[str, Any], changes: dict[str, Any], root: str) -> Iterator[Mistake]:
    ppo = deepcopy(document["ppo"]) | {"variants": {}}
    for key, value in changes.items():
        if key.split(".")[0] == "variants":
            yield Mistake(f"{root}.{key}", "a variant cannot have variants.", "Name it beside the others.")
            continue
        try:
            assign(ppo, key, value)
        except OverrideError as error:
            yield Mistake(f"{root}.{key}", str(error))
    try:
        Ppo.model_validate(ppo)
    except ValidationError as error:
        yield from mistakes_of(error, ppo, root)
    yield from ppo_checks(document, ppo, root)


def _variants(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and changes of each variant that is of the right type; pydantic tells the others."""
    ppo = document["ppo"]
    variants = ppo.get("variants") if isinstance(ppo, dict) else None
    pairs = variants.items() if isinstance(variants, dict) else ()
    return [(name, changes) for name, changes in pairs if isinstance(changes, dict)]
