"""Variants of a recipe: the same with a few dotted keys changed. A run repeats the stages that a change concerns."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from truing.config.dotted import assign
from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig
from truing.config.stages import STAGES, within

NAME = re.compile(r"[A-Za-z0-9_-]+")
RUN_WIDE = (
    "name",
    "stages",
    "base",
    "world",
    "data",
    "variants",
    "track",
    "checkpoints",
    "compute.threads",
    "on_unsound_reward",
)
"""What all stages of a run share"""


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values at these dotted keys, which must suit it."""
    document = recipe.model_dump()
    for key, value in changes.items():
        assign(document, key, value)
    return Recipe.model_validate(document)


def variant(recipe: Recipe, name: str) -> Recipe:
    """The recipe as its variant of this name has it, without further variants."""
    return with_changes(recipe, {"variants": {}, **recipe.variants[name]})


def repeated_stages(stages: Iterable[str], changes: Iterable[str]) -> list[str]:
    """Those of the stages that have another result once these keys are changed, or build on one that has."""
    repeated: list[str] = []
    for spec in (STAGES[stage] for stage in stages):
        if any(concerns(key, spec.depends_on) for key in changes) or not set(spec.builds_on).isdisjoint(repeated):
            repeated.append(spec.name)
    return repeated


def reward_sources(recipe: Recipe) -> Iterator[tuple[str, RewardConfig]]:
    """Every source of reward that the recipe's stages ask for, with its key."""
    if not any(STAGES[stage].makes_policy for stage in recipe.stages):
        return
    lists = {"": recipe.rewards.sources}
    lists |= {f"variants.{name}.": variant(recipe, name).rewards.sources for name in recipe.variants}
    for root, sources in lists.items():
        if not root or sources != recipe.rewards.sources:
            yield from ((f"{root}rewards.sources.{index}", source) for index, source in enumerate(sources))


def environment_sources(recipe: Recipe) -> Iterator[RewardConfig]:
    """The environments that policies talk with, those of variants too."""
    return (source for _, source in reward_sources(recipe) if source.kind == "environment")


def guard_functions(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Key, kind (`function`, `pairs`, `llm`) and path of the guard's judge, and of those of variants."""
    recipes = {"": recipe} | {f"variants.{name}.": variant(recipe, name) for name in recipe.variants}
    for root, own in recipes.items():
        judge = own.guard.judge
        if own.guard.mode != "off" and judge.path and (not root or own.guard != recipe.guard):
            kind = judge.kind if judge.kind in ("pairs", "llm") else "function"
            yield f"{root}guard.judge.path", kind, judge.path


def reads_columns(recipe: Recipe) -> bool:
    """Whether what scores or judges responses may ask for columns of their rows, in the recipe or a variant of it."""
    recipes = [recipe, *(variant(recipe, name) for name in recipe.variants)]
    is_source = any(source.kind in ("function", "judge", "environment") for _, source in reward_sources(recipe))
    return is_source or any(own.evaluation.judges for own in recipes) or any(guard_functions(recipe))


def judge_kind(recipe: Recipe, path: str) -> str:
    """`judge` for the name of a language model, else `function`."""
    return "judge" if path in recipe.llm_judges else "function"


def llm_rubrics(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Key and file of every rubric, those of variants too."""
    recipes = {"": recipe} | {f"variants.{name}.": variant(recipe, name) for name in recipe.variants}
    for root, own in recipes.items():
        for name, judge in own.llm_judges.items():
            if judge.rubric is not None and (not root or judge != recipe.llm_judges.get(name)):
                yield f"{root}llm_judges.{name}.rubric", judge.rubric


def concerns(key: str, fields: tuple[str, ...]) -> bool:
    """Whether a key is one of these fields, lies in one, or is a section around one."""
    return within(key, fields) or any(within(field, (key,)) for field in fields)
