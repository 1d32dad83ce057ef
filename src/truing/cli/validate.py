"""truing validate."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from truing.cli.output import say, tell
from truing.cli.recipe_file import python_beside
from truing.cli.shelf import recipe_path
from truing.config import read_recipe
from truing.config.recipe import Recipe
from truing.config.sections import Compute
from truing.core.errors import RecipeError
from truing.data.datasets import read_data
from truing.labelling.waiting import check_pages
from truing.preflight.files import check_files
from truing.preflight.findings import Findings
from truing.preflight.functions import check_functions
from truing.preflight.launching import layout_of, remarks_of_launch
from truing.preflight.layouts import Layout
from truing.preflight.looks import looks_remarks, people_remarks
from truing.preflight.model_directories import base_meant, check_layout, model_problems
from truing.preflight.stages import check_stages
from truing.runs.received import refuse_consents_of_a_run
from truing.runs.trackers import missing_trackers


def validate_command(
    recipe_file: Path, overrides: list[str], processes: int = 1, tensor: int = 1, pipeline: int = 1
) -> None:
    """Checks the recipe, its models, every row of every file, and what stages make of them; all problems together.

    With several processes, also whether they could share the work so.
    """
    path = recipe_path(recipe_file)
    recipe, found = _checked(path, overrides, partial(layout_of, processes=processes, tensor=tensor, pipeline=pipeline))
    for sentence in dict.fromkeys([*found.sound, *found.odd, *found.unchecked]):
        say(sentence)
    found.check()
    sound = "sound as far as it could be checked without its base" if found.unchecked else "sound"
    say(f"{recipe_file}: {sound}. Stages: {', '.join(recipe.stages)}.")


def _checked(path: Path, overrides: list[str], launched: Callable[[Compute], Layout]) -> tuple[Recipe, Findings]:
    """The recipe, as far as it is sound, and what was found; `launched` says in which layout it is to be run."""
    recipe, problems = read_recipe(path, overrides, tell)
    layout = launched(recipe.compute)
    refuse_consents_of_a_run(path, recipe, overrides)
    functions = Findings(problems=[*model_problems(recipe)])
    with python_beside(path):
        taken = check_functions(recipe, functions)
    datasets = read_data(recipe, True, taken)
    found = check_files(recipe, datasets)
    found.problems += [problem for problem in functions.problems if problem not in found.problems]
    found.problems += missing_trackers(recipe.track)
    with found.noting():
        check_pages(recipe)
    try:
        problems.check(RecipeError)
    except RecipeError as error:
        found.problems.insert(0, error.problem)
        found.odd.append("Fix the recipe first; stage checks were skipped.")
    if not problems.count:
        found.odd += [*looks_remarks(recipe), *people_remarks(recipe)]
        checked = None if recipe.base is None else check_stages(recipe, datasets, found, named=None)
        if checked is None:
            found.unchecked += base_meant(recipe, path.parent)
        _check_launch(recipe, layout, None if checked is None else checked[1].model.num_parameters(), found)
        if checked is not None and not found.problems:
            from truing.estimate.rehearsal import rehearse  # imports torch

            with found.noting(), python_beside(path):
                found.sound.append(rehearse(recipe, *checked))
    return recipe, found


def _check_launch(recipe: Recipe, layout: Layout, parameters: int | None, found: Findings) -> None:
    """Adds what is wrong with a launch, or odd; how many `parameters` the base has is known where it could be read."""
    with found.noting():
        on_cpu = False
        if parameters is None:
            check_layout(recipe.base, layout.tensor, layout.pipeline)
        else:
            from truing.preflight.spreading import check_spreading, computes_on_cpu  # imports torch

            check_spreading(recipe.base, recipe.compute, layout)
            on_cpu = computes_on_cpu(recipe.compute)
        found.odd += remarks_of_launch(recipe.compute, layout, parameters, on_cpu)
