"""The rows of a run: checked before it is begun, then kept in its directory as token ids."""

from pathlib import Path

from truing.config.recipe import Recipe
from truing.core.errors import RunError, check
from truing.data.datasets import read_data
from truing.data.kept import load_prepared, prepared_key, save_prepared
from truing.data.prepared import Prepared, prepare
from truing.models.load import LoadedBase, outline_base
from truing.preflight.files import check_files
from truing.preflight.findings import Findings
from truing.preflight.functions import check_functions
from truing.preflight.model_directories import model_problems
from truing.preflight.stages import check_stages, unlearnt_tokens
from truing.processes import group
from truing.runs.directory import RunDirectory
from truing.runs.files import complete_directory, remove
from truing.runs.interruption import Interruption


def check_inputs(recipe: Recipe) -> tuple[Prepared, LoadedBase] | None:
    """The rows of a run that has not begun, and its base without weights.

    None where the base has yet to be fetched, or to be written with the embedded world.

    Raises:
        InputError: all that is wrong with the recipe's models and rows, or that a stage would refuse.
    """
    functions = Findings(problems=[*model_problems(recipe)])
    datasets = read_data(recipe, taken=check_functions(recipe, functions))
    found = check_files(recipe, datasets)
    checked = None if recipe.base is None else check_stages(recipe, datasets, found)
    if found.problems:  # where functions alone are at fault, they are refused once they are begun
        found.problems += [problem for problem in functions.problems if problem not in found.problems]
    found.check()
    return checked


def rows_of_run(run: RunDirectory, recipe: Recipe, rows: Prepared | None, stop: Interruption) -> Prepared:
    """These rows, or those that an earlier process left in the run, or prepared anew; they are there afterwards.

    Raises:
        InputError: rows cannot be used.
        RunError: the disk refuses.
    """
    key = prepared_key(recipe, run.lineage.facts["inputs"])
    found = group.on_owner(lambda: _kept(run.prepared, key, recipe, rows, stop)) or load_prepared(run.prepared, key)
    if found is None:
        what, hint = "has not the rows of this run.", "Give an --out on a disk that all processes see."
        raise RunError(what, code="run/unshared-rows", where=str(run.prepared), hint=hint)
    return found


def _kept(place: Path, key: str, recipe: Recipe, rows: Prepared | None, stop: Interruption) -> Prepared:
    kept = load_prepared(place, key)
    if kept is not None:
        return kept
    if rows is None:
        assert recipe.base is not None
        base = outline_base(recipe.base, recipe.compute)
        taken = check_functions(recipe, Findings())
        rows = prepare(recipe, base.text_format(recipe.data), base.context, taken)
        check([*unlearnt_tokens(recipe, base, rows)])
    with stop.defer():
        if place.exists():  # of other data, or damaged
            remove(place)
        with complete_directory(place) as partial:
            save_prepared(rows, partial, key)
    return rows
