"""truing run."""

from pathlib import Path

from truing.cli.closing import closing_table
from truing.cli.output import patient_console, tell
from truing.cli.recipe_file import named_recipe, python_beside
from truing.cli.shelf import recipe_path
from truing.core.errors import RewardError
from truing.report import write_report
from truing.runs.interruption import stop_on_signals
from truing.runs.progress import open_progress


def run_command(recipe_file: Path, out: Path | None, overrides: list[str], fork_to: Path | None) -> None:
    """Runs what is left of the recipe, in `fork_to` from what `out` has of it, and closes with a table."""
    path = recipe_path(recipe_file)
    recipe = named_recipe(path, overrides)
    console = patient_console()
    from truing.estimate.rehearsal import rehearse  # imports torch, so only once the recipe is sound
    from truing.pipeline.execute import run_pipeline

    progress = open_progress(console)
    with python_beside(path), stop_on_signals(progress.note) as stop:
        root = out or Path("runs") / recipe.name
        fork_of = root if fork_to else None
        try:
            done = run_pipeline(recipe, fork_to or root, progress, stop, fork_of, rehearse)
        except RewardError as error:
            if error.code == "rewards/unsound":  # what was measured before is there to be read
                tell(f"report so far: {write_report(fork_to or root)}")
            raise
        write_report(done.root)
    closing_table(done, console)
