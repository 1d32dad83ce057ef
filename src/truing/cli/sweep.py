"""truing sweep."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from truing.cli.output import patient_console, tell
from truing.cli.recipe_file import named_recipe, python_beside
from truing.cli.shelf import recipe_path
from truing.runs.directory import RunDirectory
from truing.runs.files import disk_faults
from truing.runs.interruption import stop_on_signals
from truing.runs.lock import locked
from truing.runs.progress import open_progress
from truing.sweep.grid import Point, read_grid
from truing.sweep.trials import trials_of

if TYPE_CHECKING:
    from truing.sweep.frontier import Frontier

GOES_ON = "The same command goes on from what is saved."


def sweep_command(
    recipe_file: Path, overrides: list[str], seeds: int, jobs: int, best_of: int, out: Path | None
) -> None:
    """Runs what is left of the grid, measures, writes the page and prints its table."""
    path = recipe_path(recipe_file)
    points = _grid(path, overrides)
    root = out or Path("runs") / f"{points[0].recipe.name}-sweep"
    trials = trials_of(points, seeds, root)
    console = patient_console()
    progress = open_progress(console)
    from truing.sweep.checks import refuse_unusable  # imports torch, so only once the grid is sound
    from truing.sweep.figures import figures_of
    from truing.sweep.page import write_frontier
    from truing.sweep.words import sentences
    from truing.sweep.workers import run_trials

    with python_beside(path):
        refuse_unusable(trials, root)
        with disk_faults(root, "cannot be used"):
            root.mkdir(parents=True, exist_ok=True)
        with locked(RunDirectory(root).lock):
            work = run_trials(trials, path, jobs, progress.note)
            if work.signal:
                tell(f"interrupted. {GOES_ON}")
                sys.exit(work.exit_code)
            with stop_on_signals(progress.note) as stop:
                found = figures_of(trials, best_of, root, progress, stop)
            page = write_frontier(found, root)
    console.print(_table(found))
    for sentence in [*sentences(found), f"page: {page}"]:
        console.print(sentence, soft_wrap=True)
    sys.exit(work.exit_code)


def _grid(path: Path, overrides: list[str]) -> list[Point]:
    """The points; what there is to say of the recipe's file is said once, however often it is read."""
    said = dict[str, None]()

    def say(text: str) -> None:
        if text not in said:
            tell(text)
        said[text] = None

    return read_grid(overrides, lambda given: named_recipe(path, given, say=say))


def _table(found: "Frontier") -> Table:
    """A row a policy."""
    from truing.sweep.measures import metric_of
    from truing.sweep.words import table

    shown = Table("", *(metric_of(measure).heading for measure in found.measures), box=None, pad_edge=False)
    for row in table(found):
        shown.add_row(row.name, *(" ".join(filter(None, [cell.value, cell.detail])) for cell in row.cells))
    return shown
