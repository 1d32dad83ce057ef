"""truing run."""

import sys
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from truing.cli.closing import closing_table
from truing.cli.output import patient_console, tell
from truing.cli.recipe_file import named_recipe, python_beside
from truing.cli.shelf import recipe_path
from truing.config.recipe import Recipe
from truing.core.errors import RewardError
from truing.core.garbage import libraries_kept
from truing.labelling.waiting import people_of
from truing.preflight.launching import refuse_odd_layout
from truing.preflight.model_directories import check_layout
from truing.processes import group, started
from truing.processes.failures import PeerFailed
from truing.processes.launch import launch
from truing.report import write_report
from truing.runs.directory import RunDirectory
from truing.runs.interruption import stop_on_signals
from truing.runs.progress import SilentProgress, open_progress

GOES_ON = "The same command goes on from what is saved."


def run_command(
    recipe_file: Path,
    out: Path | None,
    overrides: list[str],
    fork_to: Path | None,
    processes: int = 1,
    tensor: int = 1,
    pipeline: int = 1,
) -> None:
    """Runs what is left of the recipe, in `fork_to` from what `out` has of it, and closes with a table.

    Of several processes that are to be started, each runs this command line.
    """
    if processes > 1 and not started.is_expected():
        refuse_odd_layout(processes, tensor, pipeline)
        check_layout(named_recipe(recipe_path(recipe_file), overrides, say=silent).base, tensor, pipeline)
        code, ended = launch(processes, sys.argv[1:])
        if ended is not None:
            tell(f"{ended}. {GOES_ON}")
        sys.exit(code)
    try:
        with group.joined(tensor, pipeline):
            refuse_odd_layout(group.size(), tensor, pipeline)
            _run(recipe_file, out, overrides, fork_to)
    except PeerFailed as failure:
        if failure.untold:
            tell(f"{failure.untold}. {GOES_ON}")
        sys.exit(failure.exit_code)


def _run(recipe_file: Path, out: Path | None, overrides: list[str], fork_to: Path | None) -> None:
    path = recipe_path(recipe_file)
    recipe = named_recipe(path, overrides, say=tell if group.is_owner() else silent)
    check_layout(recipe.base, group.tensor_size(), group.pipeline_size())
    console = patient_console()
    done = execute(path, recipe, out, fork_to, console)
    if group.is_owner():
        closing_table(done, console)


def execute(path: Path, recipe: Recipe, out: Path | None, fork_to: Path | None, console: Console) -> RunDirectory:
    """Runs what is left of a sound recipe, tells how it goes, and writes the report.

    Args:
        path: of the recipe's file.
        recipe: that was read there.
        out: the run's directory; without it, that of the recipe's name.
        fork_to: another, begun from what `out` has of it.
        console: where it is told.
    """
    from truing.estimate.rehearsal import rehearse  # imports torch, so only once the recipe is sound
    from truing.pipeline.execute import run_pipeline

    progress = open_progress(console) if group.is_owner() else SilentProgress()
    root = out or Path("runs") / recipe.name
    fork_of, made = (root, fork_to) if fork_to else (None, root)
    with python_beside(path), libraries_kept(), stop_on_signals(progress.note) as stop:
        asking = people_of(recipe, made, progress, stop, console.is_terminal) if group.is_owner() else nullcontext()
        try:
            with asking as people:
                done = run_pipeline(recipe, made, progress, stop, fork_of, rehearse, people)
        except RewardError as error:
            if error.code == "rewards/unsound" and group.is_owner():  # what was measured before is there to be read
                tell(f"report so far: {write_report(made)}")
            raise
        if group.is_owner():
            write_report(done.root)
    return done


def silent(text: str) -> None:
    """Another process says it."""
