"""The files of a recipe: the directories of its models, and every row by itself."""

import contextlib
from collections.abc import Callable
from typing import Any

from truing.config.recipe import Recipe
from truing.config.sections import Data
from truing.core.errors import DataError
from truing.data.faults import SHOWN, Faults
from truing.data.remarks import remarks
from truing.data.rows import read_demonstrations, read_preferences, read_prompts
from truing.preflight.findings import Findings
from truing.preflight.model_directories import model_problems

READERS: dict[str, Callable[..., list[Any]]] = {
    "demonstrations": read_demonstrations,
    "heldout_demonstrations": read_demonstrations,
    "preferences": read_preferences,
    "heldout_preferences": read_preferences,
    "prompts": read_prompts,
}


def check_files(recipe: Recipe, shown: int | None = SHOWN) -> Findings:
    """All of them, whatever its stages do with them; of each file's faults so many are described, or all for None."""
    found = Findings(faults=[*model_problems(recipe)])
    for name in READERS:
        if getattr(recipe.data, name) is not None:
            _look_at_rows(name, recipe.data, shown, found)
    return found


def note_oddities(recipe: Recipe, found: Findings) -> None:
    """Adds what is odd about rows that can be used; a file that cannot be read has been told by a look at files."""
    for name in READERS:
        source = getattr(recipe.data, name)
        if source is not None:
            with contextlib.suppress(DataError):
                found.odd += [f"data.{name}: {sentence}" for sentence in remarks(source)]


def _look_at_rows(name: str, data: Data, shown: int | None, found: Findings) -> None:
    """Those of one file: its faults, or how many there are."""
    source = getattr(data, name)
    faults = Faults(source.path, shown)
    with found.noting():
        rows = READERS[name](source, data.transcripts, faults)
        if not faults.count:
            found.sound.append(f"data.{name}: {len(rows)} {'row is' if len(rows) == 1 else 'rows are'} sound")
    with found.noting():
        faults.check()
