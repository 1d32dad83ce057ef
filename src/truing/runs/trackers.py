"""Metrics on their way to the dashboards people already have. metrics.jsonl stays the record; these are copies."""

import importlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from truing.core.errors import RunError


class Tracker(Protocol):
    """Where metrics go."""

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Pass on the numbers of one step, each as `stage/key`; what is no number stays behind."""

    def close(self) -> None:
        """Pass on what is still under way and let go."""


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
    together = _Together()
    for name in names:
        try:
            together.trackers[name] = _OPENERS[name](run_name, directory)
        except Exception as fault:
            together.close()
            if isinstance(fault, ImportError):
                hint = "Install it with: pip install 'truing[track]'"
                what = f"the tracker {name} is not installed ({fault})."
                raise RunError(what, code="run/no-tracker", hint=hint) from fault
            hint = f"Set it up, or take {name} out of `track` in the recipe."
            what = f"the tracker {name} does not start: {fault}."
            raise RunError(what, code="run/tracker-fails", hint=hint) from fault
    return together


class _Together:
    """Any number of trackers as one."""

    def __init__(self) -> None:
        self.trackers: dict[str, Tracker] = {}

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        numbers = {f"{stage}/{key}": value for key, value in metrics.items() if type(value) in (int, float)}
        for name in list(self.trackers):
            self._guarded(name, lambda tracker: tracker.log(stage, step, numbers))

    def close(self) -> None:
        for name in list(self.trackers):
            self._guarded(name, lambda tracker: tracker.close())
        self.trackers.clear()

    def _guarded(self, name: str, act: Callable[[Tracker], None]) -> None:
        try:
            act(self.trackers[name])
        except Exception as fault:
            del self.trackers[name]
            warnings.warn(f"the tracker {name} failed and is left out from here on: {fault}", stacklevel=4)


class _Tensorboard:
    def __init__(self, run_name: str, directory: Path) -> None:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(log_dir=str(directory / "tensorboard"))

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, run_name: str, directory: Path) -> None:
        self._run = importlib.import_module("wandb").init(project="truing", name=run_name, dir=str(directory))
        self._stages: set[str] = set()

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        # wandb's own step may never fall, but every stage begins again: each stage gets an axis of its own.
        if stage not in self._stages:
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages.add(stage)
        self._run.log({**metrics, f"{stage}/step": step})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, run_name: str, directory: Path) -> None:
        self._trackio = importlib.import_module("trackio")
        self._trackio.init(project="truing", name=run_name)

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        self._trackio.log(dict(metrics), step=step)

    def close(self) -> None:
        self._trackio.finish()


class _Mlflow:
    def __init__(self, run_name: str, directory: Path) -> None:
        self._mlflow = importlib.import_module("mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self._mlflow.set_tracking_uri(f"sqlite:///{(directory / 'mlflow.db').resolve()}")
        self._mlflow.set_experiment("truing")
        self._mlflow.start_run(run_name=run_name)

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


_OPENERS: dict[str, Callable[[str, Path], Tracker]] = {
    "tensorboard": _Tensorboard,
    "wandb": _Wandb,
    "trackio": _Trackio,
    "mlflow": _Mlflow,
}
