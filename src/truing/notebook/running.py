"""A recipe, run from Python as `truing run` does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truing.cli.output import patient_console
from truing.cli.recipe_file import named_recipe
from truing.cli.run import execute
from truing.cli.shelf import recipe_path
from truing.notebook.loaded import Run, load


def run(
    recipe: str | Path,
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    fork_to: str | Path | None = None,
) -> Run:
    """Runs what is left of a recipe, telling how it goes, and loads the run; a finished one is only loaded.

    Args:
        recipe: a file, or the name of a shipped recipe.
        out: the run's directory; without it, `runs/NAME`.
        changes: values by dotted keys over those of the recipe, such as `{"ppo.kl.beta": 0.1}`.
        fork_to: a new directory, which takes over the stages of `out` that the recipe leaves alike.

    Raises:
        TruingError: whatever `truing run` refuses; its text is what the command says.
    """
    path = recipe_path(Path(recipe))
    overrides = [f"{key}={json.dumps(value)}" for key, value in (changes or {}).items()]
    console = patient_console()
    wanted = named_recipe(path, overrides, say=console.print)
    root, fork = (None if place is None else Path(place) for place in (out, fork_to))
    done = execute(path, wanted, root, fork, console)
    return load(done.root)
