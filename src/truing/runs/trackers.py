"""Metrics on their way to the dashboards people already have. metrics.jsonl stays the record; these are copies.

A run that goes on goes on there too, and each step is told once: trackers.json in the run's directory keeps the id of
the run at each tracker, and the last step that it was told of each stage.

    {"wandb": {"id": "1f0c9a2b", "steps": {"sft": 120}}}
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from truing.core.errors import Problem, RunError
from truing.runs.dashboards import Mlflow, Tensorboard, Trackio, Wandb
from truing.runs.files import read_json, write_json

RECORD = "trackers.json"


class Tracker(Protocol):
    """Where metrics go."""

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Pass on the numbers of one step, each as `stage/key`; what is no number stays behind."""

    def go_back(self, stage: str, step: int) -> None:
        """What follows this step of a stage will come again, and otherwise than it was."""

    def close(self) -> None:
        """Pass on what is still under way and let go."""


def missing_trackers(names: Sequence[str]) -> Iterator[Problem]:
    """Those whose package is not installed."""
    for name in names:
        if _is_missing(name):
            yield _not_installed(name, "no package of this name")


def open_tracker(names: Sequence[str], run_name: str, directory: Path) -> Tracker:
    """One tracker that passes on to all those named: tensorboard, wandb, trackio, mlflow; none is fine.

    A tracker that fails later is left out with a warning; it does not end the run.

    Args:
        names: which, in any order.
        run_name: how the run is called there.
        directory: the run directory, where those that keep files keep them.

    Raises:
        RunError: a package is missing, or a tracker does not start.
    """
    together = _Together(_Record(directory / RECORD))
    for name in names:
        try:
            together.open(name, run_name, directory)
        except Exception as fault:
            together.close()
            if isinstance(fault, ImportError):
                raise RunError(**vars(_not_installed(name, str(fault)))) from fault
            hint = f"Set it up, or take {name} out of `track` in the recipe."
            what = f"the tracker {name} does not start: {fault}."
            raise RunError(what, code="run/tracker-fails", hint=hint) from fault
    return together


def _not_installed(name: str, reason: str) -> Problem:
    hint = f"Install it with: pip install {name}; all four come with: pip install 'truing[track]'"
    return Problem("run/no-tracker", "track", f"the tracker {name} is not installed ({reason}).", hint)


def _is_missing(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ValueError:  # it was imported in a way that left no trace of where from
        return False


class _Opened(Tracker, Protocol):
    """A tracker with the id of the run there; None where the run's directory is enough."""

    @property
    def id(self) -> str | None: ...


_OPENERS: dict[str, Callable[[str, Path, str | None], _Opened]] = {
    "tensorboard": Tensorboard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": Mlflow,
}


class _Record:
    """What a run remembers of its trackers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}

    def id_of(self, tracker: str) -> str | None:
        """The run's id there, if it has one."""
        found: str | None = self._known.get(tracker, {}).get("id")
        return found

    def begin(self, tracker: str, run: str | None) -> None:
        """The run has this id there."""
        if self._known.setdefault(tracker, {"id": run, "steps": {}})["id"] != run or not self._path.exists():
            self._known[tracker]["id"] = run
            write_json(self._path, self._known)

    def was_told(self, tracker: str, stage: str, step: int) -> bool:
        """Whether a tracker knows a step already."""
        return step <= int(self._known[tracker]["steps"].get(stage, -1))

    def tell(self, tracker: str, stage: str, step: int) -> None:
        """It knows all of them as far as this one."""
        self._known[tracker]["steps"][stage] = step
        write_json(self._path, self._known)


class _Together:
    """Any number of trackers as one, each of which is told every step once."""

    def __init__(self, record: _Record) -> None:
        self.trackers: dict[str, Tracker] = {}
        self._record = record

    def open(self, name: str, run_name: str, directory: Path) -> None:
        tracker = _OPENERS[name](run_name, directory, self._record.id_of(name))
        self.trackers[name] = tracker
        self._record.begin(name, tracker.id)

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        numbers = {f"{stage}/{key}": value for key, value in metrics.items() if type(value) in (int, float)}

        def tell(name: str, tracker: Tracker) -> None:
            if not self._record.was_told(name, stage, step):
                tracker.log(stage, step, numbers)
                self._record.tell(name, stage, step)

        self._with_each(tell)

    def go_back(self, stage: str, step: int) -> None:
        def tell(name: str, tracker: Tracker) -> None:
            tracker.go_back(stage, step)
            self._record.tell(name, stage, step)

        self._with_each(tell)

    def close(self) -> None:
        self._with_each(lambda _, tracker: tracker.close())
        self.trackers.clear()

    def _with_each(self, act: Callable[[str, Tracker], None]) -> None:
        for name in list(self.trackers):
            try:
                act(name, self.trackers[name])
            except Exception as fault:
                del self.trackers[name]
                warnings.warn(f"the tracker {name} failed and is left out from here on: {fault}", stacklevel=4)
