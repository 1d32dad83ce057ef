"""What a run's own record may decide: a run may come from somebody else, whose word lets nothing run here.

Whether Python code runs, and which other models, programs and addresses are called, is decided by the recipe that a
person names or on their own command line. The recipe inside a run is compared with that one, and of what it says only
the harmless rest is used.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from truing.config import recorded_recipe
from truing.config.dotted import NoSuchPlaceError
from truing.config.dotted import flat as flat_changes
from truing.config.judging import Guard
from truing.config.moved import current_key
from truing.config.plan import Planned, plan
from truing.config.recipe import Recipe
from truing.config.sections import Evaluation, Rewards, Vllm
from truing.config.stages import within
from truing.core.errors import Problem, RecipeError, RunError
from truing.runs.differences import flat
from truing.runs.directory import RunDirectory
from truing.runs.no_run import RECORD

CONSENTS = (
    "base.trust_remote_code",
    "rewards.sources",
    "evaluation.judges",
    "llm_judges",
    "guard",
    "track",
    "rollout.engine",
    "rollout.vllm",
)
"""The fields by which a recipe lets code run, or names what else is loaded or called"""


def without_consents(recipe: Recipe) -> Recipe:
    """The recipe with each of `CONSENTS` as by default; no variant changes one."""
    changes: dict[str, Any] = {
        "base": recipe.base and recipe.base.model_copy(update={"trust_remote_code": False}),
        "rewards": recipe.rewards.model_copy(update={"sources": Rewards().sources}),
        "evaluation": recipe.evaluation.model_copy(update={"judges": Evaluation().judges}),
        "llm_judges": {},
        "guard": Guard(),
        "track": [],
        "rollout": recipe.rollout.model_copy(update={"engine": "local", "vllm": Vllm()}),
        "variants": {name: _harmless(changes) for name, changes in recipe.variants.items()},
    }
    return recipe.model_copy(update=changes)


def received_plan(run: RunDirectory) -> list[Planned]:
    """The stages that a run was made of, by its own record, each with a recipe without consents.

    Raises:
        RecipeError: the record holds no recipe.
        RunError: it is no run, a variant in it is none, or a link in it leads elsewhere.
    """
    run.refuse_no_run()  # before its recipe is read, which may be one, or a pipe without an end
    try:
        return [replace(stage, recipe=without_consents(stage.recipe)) for stage in plan(recorded_recipe(run.recipe))]
    except (NoSuchPlaceError, ValueError, TypeError) as error:
        what, hint = "has a variant that cannot be applied.", "Was it edited by hand?"
        raise RunError(what, code="run/unreadable-variant", where=str(run.recipe), hint=hint) from error


def received_stage(run: RunDirectory, stage: str) -> Planned:
    """One of them by name; RunError where it is not planned."""
    for planned in received_plan(run):
        if planned.name == stage:
            return planned
    hint = "Was it edited by hand?"
    raise RunError(f"plans no stage {stage}.", code="run/not-planned", where=str(run.recipe), hint=hint)


def lies_in_a_run(path: Path) -> bool:
    """Whether a file is part of a run directory."""
    return any((folder / RECORD).is_file() for folder in {*path.absolute().parents, *path.resolve().parents})


def refuse_consents_of_a_run(path: Path, recipe: Recipe, overrides: Collection[str]) -> None:
    """RecipeError where the recipe file `path` lies in a run and would let happen what no `--set` asks for.

    Naming that file is no consent: who made the run wrote it, and may have put the code beside it.
    """
    if not lies_in_a_run(path):
        return
    own = tuple(current_key(override.partition("=")[0].strip()) for override in overrides)
    wanted, harmless = flat(recipe.model_dump()), flat(without_consents(recipe).model_dump())
    what = "lies in a run, whose maker may be somebody else, and asks for what only you can allow."
    hint = "Look at it; then copy the file out of the run and name the copy, or give the key by --set."
    parts = [
        Problem("recipe/not-your-word", key, f"{key}: {value}.", None)
        for key, value in wanted.items()
        if harmless.get(key) != value and not within(key, own)
    ]
    if parts:
        raise RecipeError(what, code="recipe/in-a-run", where=str(path), hint=hint, parts=parts)


def _harmless(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that change none of `CONSENTS`, nor a section around one."""
    return {
        key: value
        for key, value in flat_changes(dict(changes)).items()
        if not any(within(key, (consent,)) or within(consent, (key,)) for consent in CONSENTS)
    }
