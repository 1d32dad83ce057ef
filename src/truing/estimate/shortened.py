"""A recipe shortened to a dry run. Whatever the estimate has to know of a recipe's keys stands here."""

from collections.abc import Mapping
from math import ceil
from operator import attrgetter
from typing import Any

from truing.config.recipe import Recipe
from truing.config.sections import MOST, Base
from truing.config.stages import within
from truing.config.variants import with_changes

STEPS = 3
"""Of each stage where it is timed: one to warm up, one to time, and the last with an evaluation and a checkpoint"""
STAND_IN = "truing.estimate.no_reward:zeros"
"""For the recipe's own functions"""
STOOD_IN: dict[str, Any] = {"kind": "function", "path": STAND_IN, "turns": None, "observation_tokens": None}
"""What a source has instead that is asked beyond a model"""
PROMPTS, NEW_TOKENS, RATE = 3, 4, 1e-2
"""Of a rehearsal: prompts, one of them held out, tokens of a response, and learning rate"""
ONE_THREAD = 1
"""Of a rehearsal: over single rows several wait for each other longer than they compute"""
_STOOD_IN_FOR = (
    "rewards",
    "evaluation",
    "guard",
    "functions",
    "llm_judges",
    "rollout.engine",
    "rollout.vllm",
    "rollout.max_staleness",
)
"""Sections and fields of a recipe that a rehearsal replaces"""
_NEVER = 10**9
"""Steps between evaluations, for none but the last"""


def rows_of_step(recipe: Recipe, stage: str) -> int:
    """Rows of an optimiser step of a stage that learns from rows."""
    size: int = getattr(recipe, stage).batch_size
    return size


def prompts_of_step(recipe: Recipe) -> int:
    """Prompts of a round of sampling and of an evaluation, however many of them may stand in the pairs of a step."""
    sections = [getattr(recipe, stage) for stage in recipe.stages]
    sampled = max((section.episodes for section in sections if hasattr(section, "episodes")), default=0)
    learnt_from = max((section.batch_size for section in sections if hasattr(section, "batch_size")), default=0)
    return sampled + recipe.evaluation.prompts + learnt_from


def steps_of(recipe: Recipe, stage: str, rows: Mapping[str, int]) -> int:
    """Steps of a whole stage, which may learn from so many `rows`, by stage."""
    section: Any = getattr(recipe, stage)
    steps: int = section.epochs * ceil(rows[stage] / section.batch_size) if stage in rows else section.updates
    return steps


def shortened(recipe: Recipe, base: Base, lora_layers: float, timed: bool = True) -> Recipe:
    """The recipe on another base, for `STEPS` steps of each stage; an episode of several turns is one long response.

    One that is not timed does as little as holds as much. Rewards in Python score nothing, since they may cost money or
    expect text that makes sense; judges are left out, and so is the guard, whose judge may be people.
    """
    steps = STEPS if timed else STEPS - 1
    samples = min(recipe.rewards.normalisation_samples, recipe.compute.rollout_rows or MOST)
    changes: dict[str, Any] = {
        "world": None,
        "base": base.model_dump(),
        "lora.layers": lora_layers,
        "rewards.sources": [_without_function(source.model_dump()) for source in recipe.rewards.sources],
        "rewards.normalisation_samples": max(2, samples),
        "rollout.max_new_tokens": recipe.longest_response,
        "evaluation.every": _NEVER,
        "evaluation.judges": {},
        "guard.mode": "off",
        "variants": {},
        "rollout.engine": "local",
        "rollout.max_staleness": 0,
        "track": [],
        "checkpoints.every_steps": steps,
    }
    for stage in recipe.stages:
        settings = getattr(recipe, stage)
        if hasattr(settings, "updates"):
            changes |= {f"{stage}.updates": steps, f"{stage}.epochs": settings.epochs if timed else 1}
        elif hasattr(settings, "epochs"):
            changes[f"{stage}.epochs"] = steps
        changes |= {f"{stage}.log_every": _NEVER} if hasattr(settings, "log_every") else {}
    return with_changes(recipe, changes)


def one_step(recipe: Recipe, base: Base) -> Recipe:
    """The recipe on another base, for one step of each stage on one row.

    Its rate is high, so that what was learnt is told from rounding. No other model is loaded and no function called.
    Variants stay that change more than numbers, such as the roles: those do something else, not more of the same.
    """
    short = shortened(recipe, base, recipe.lora.layers, timed=False)
    sources = [source.model_dump() for source in short.rewards.sources]
    changes: dict[str, Any] = {
        "rewards.sources": [source if source["kind"] == "stage" else source | STOOD_IN for source in sources],
        "rewards.normalisation_samples": PROMPTS,
        "rollout.max_new_tokens": min(NEW_TOKENS, recipe.rollout.max_new_tokens),
        "evaluation.prompts": 1,
        "evaluation.every": 1,
        "checkpoints.every_steps": 1,
        "compute.threads": ONE_THREAD,
    }
    once = {"epochs": 1, "updates": 1, "batch_size": 1, "minibatches": 1, "optimiser.learning_rate": RATE}
    for stage in recipe.stages:
        settings = getattr(recipe, stage)
        once["episodes"] = PROMPTS * getattr(settings, "responses_per_prompt", 1)
        changes |= {f"{stage}.{key}": value for key, value in once.items() if hasattr(settings, key.partition(".")[0])}
    once_through = with_changes(short, changes)
    return with_changes(once_through, {"variants": _variants_of_other_kind(recipe, once_through)})


def _variants_of_other_kind(recipe: Recipe, short: Recipe) -> dict[str, dict[str, Any]]:
    """The recipe's variants that change more than numbers, with all that they change and the short recipe does not."""
    found: dict[str, dict[str, Any]] = {}
    for name, changes in recipe.variants.items():
        own = {
            key: value
            for key, value in changes.items()
            if not within(key, _STOOD_IN_FOR) and attrgetter(key)(short) == attrgetter(key)(recipe)
        }
        if any(isinstance(value, str | bool | list) for value in own.values()):
            found[name] = own
    return found


def _without_function(reward: dict[str, Any]) -> dict[str, Any]:
    """The same reward, or the stand-in for what is asked beyond a model; only the reward stage's is normalised."""
    if reward["kind"] in ("function", "judge", "environment"):
        reward |= STOOD_IN
    return reward | {"normalise": reward["normalise"] and reward["kind"] == "stage"}
