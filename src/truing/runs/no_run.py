"""What to say to one who names a directory that is no run, and which run is likely meant."""

from pathlib import Path

from truing.core.errors import RunError
from truing.core.text import nearest
from truing.runs.differences import SHOWN

RECORD = "run.json"
"""The file that makes a directory a run"""


def no_run(place: Path) -> RunError:
    """The error of one who names a directory that is no run."""
    missing = "is no directory." if place.exists() else "there is no such directory."
    what = f"is no run: it has no {RECORD}." if place.is_dir() else missing
    meant = " or ".join(map(str, _runs_meant(place)))
    hint = f"Did you mean {meant}?" if meant else "Name a directory that `truing run` made, such as runs/NAME."
    return RunError(what, code="run/no-run", where=str(place), hint=hint)


def _runs_meant(place: Path) -> list[Path]:
    """The run that a directory is a part of, else those in it, else one of a like name beside it or in `runs`."""
    if (place.parent / RECORD).exists():
        return [place.parent]
    inside, beside, usual = (sorted(folder.glob(f"*/{RECORD}")) for folder in (place, place.parent, Path("runs")))
    named = {record.parent.name: record.parent for record in (*usual, *beside)}
    close = nearest(place.name, named)
    return [record.parent for record in inside[:SHOWN]] or ([named[close]] if close else [])
