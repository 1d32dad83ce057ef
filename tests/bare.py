"""`truing run` without what is two thirds of a tiny run: the rehearsal before it, and the report after it."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from forked import BARE

import truing.cli.run
import truing.rounds.loop
from truing.estimate import rehearsal
from truing.runs.directory import RunDirectory


def leave_out(put: Callable[[Any, str, Any], object], parts: Collection[str] = BARE) -> None:
    """From here on runs lack these, and those of rounds do; `put` is setattr, or a fixture's that puts it back."""
    if "rehearsal" in parts:
        for place in (rehearsal, truing.rounds.loop):
            put(place, "rehearse", _unrehearsed)
    if "report" in parts:
        put(truing.cli.run, "write_report", _unreported)
        put(truing.rounds.loop, "write_report", _reported_in_no_words)


def _unrehearsed(*_: Any) -> str:
    return "Not rehearsed."


def _unreported(run: Path) -> Path:
    return run


def _reported_in_no_words(run: Path) -> Path:
    """By its report, rounds know a run for done."""
    page = RunDirectory(run).report
    page.touch()
    return page
