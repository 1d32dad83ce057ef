"""The trackers that people have. Each has the id of the run there, to go on under; None where its directory is enough.

Their packages are imported when one is opened.
"""

import importlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Tensorboard:
    """A folder a stage, because what is taken back is taken back from all of a folder."""

    id = None

    def __init__(self, run_name: str, directory: Path, known: str | None) -> None:
        self._writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._place = directory / "tensorboard"
        self._writers: dict[str, Any] = {}

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        if stage not in self._writers:
            self._writers[stage] = self._writer(log_dir=str(self._place / stage), purge_step=step)
        for key, value in metrics.items():
            self._writers[stage].add_scalar(key, value, step)
        self._writers[stage].flush()

    def go_back(self, stage: str, step: int) -> None:
        if stage in self._writers:
            self._writers.pop(stage).close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Wandb:
    def __init__(self, run_name: str, directory: Path, known: str | None) -> None:
        self.id = known or uuid.uuid4().hex[:8]
        named = {"project": "truing", "name": run_name, "dir": str(directory)}
        self._run = importlib.import_module("wandb").init(**named, id=self.id, resume="allow")
        self._stages: set[str] = set()

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        # wandb's own step may never fall, but every stage begins again: each stage gets an axis of its own.
        if stage not in self._stages:
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages.add(stage)
        self._run.log({**metrics, f"{stage}/step": step})

    def go_back(self, stage: str, step: int) -> None:
        """What was told stays."""

    def close(self) -> None:
        self._run.finish()


class Trackio:
    def __init__(self, run_name: str, directory: Path, known: str | None) -> None:
        self.id = known or f"{run_name}-{uuid.uuid4().hex[:8]}"  # it knows runs by their names
        self._trackio = importlib.import_module("trackio")
        self._trackio.init(project="truing", name=self.id, resume="allow")

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        self._trackio.log(dict(metrics), step=step)

    def go_back(self, stage: str, step: int) -> None:
        """What was told stays."""

    def close(self) -> None:
        self._trackio.finish()


class Mlflow:
    def __init__(self, run_name: str, directory: Path, known: str | None) -> None:
        self._mlflow = importlib.import_module("mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self._mlflow.set_tracking_uri(f"sqlite:///{(directory / 'mlflow.db').resolve()}")
        self._mlflow.set_experiment("truing")
        named = {"run_name": run_name} if known is None else {"run_id": known}
        self.id = str(self._mlflow.start_run(**named).info.run_id)

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def go_back(self, stage: str, step: int) -> None:
        """What was told stays."""

    def close(self) -> None:
        self._mlflow.end_run()
