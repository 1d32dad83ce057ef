"""What the runs of a sweep would refuse, found before the first of them begins."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.core.errors import Problem, RunError
from truing.pipeline.execute import recipe_as_begun
from truing.pipeline.opening import refuse_other_inputs
from truing.pipeline.rows import check_inputs
from truing.preflight.findings import Findings
from truing.preflight.functions import check_functions
from truing.preflight.model_directories import rewards_and_judges
from truing.runs.directory import RunDirectory, refuse_foreign
from truing.runs.files import refuse_no_directory
from truing.runs.lineage import fingerprint
from truing.runs.trackers import missing_trackers
from truing.sweep.trials import Trial


def refuse_unusable(trials: Sequence[Trial], root: Path) -> None:
    """InputError with all that is wrong with models, rows and functions of a point, or with a directory.

    A run that has begun already has been through this, and rests on what its files held then.
    """
    found, fingerprint_of = Findings(), cache(fingerprint)
    imported: set[str] = set()
    with found.noting():
        _refuse_run(root)
    for trial in trials:
        with found.noting():
            refuse_foreign(trial.run, recipe_as_begun(trial.recipe, trial.run))
            if trial.run.record.exists():
                refuse_other_inputs(trial.run, trial.recipe, fingerprint_of)
        if trial.seed == trials[0].seed and not trial.run.record.exists():  # rows are those of every seed
            found.problems += missing_trackers(trial.recipe.track)
            with found.noting():
                check_inputs(trial.recipe)
            found.problems += _without_distance(trial.recipe)
            functions = str(rewards_and_judges(trial.recipe))
            if functions not in imported:
                check_functions(trial.recipe, found)
            imported.add(functions)
    found.check()


def _without_distance(recipe: Recipe) -> Iterator[Problem]:
    """Policies of which nobody measures how far they moved: a frontier has no place for them."""
    for spec in (STAGES[stage] for stage in recipe.stages):
        if recipe.roles == "separate" and spec.makes_policy and not spec.has_reference:
            what = f"separate keeps no model that {spec.name} began with, so the KL that a sweep draws is unknown."
            yield Problem("recipe/no-distance", "roles", what, "Set roles: shared, or run the points one by one.")


def _refuse_run(root: Path) -> None:
    """RunError where a sweep would put its runs into one, or cannot have a directory."""
    refuse_no_directory(root)
    if RunDirectory(root).record.exists():
        what = "holds a run, and a sweep has a directory of its own, with its runs below."
        raise RunError(what, code="run/no-sweep", where=str(root), hint="Give another --out.")
