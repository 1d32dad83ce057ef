"""What is on disk of a run, however far it got."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truing.config.yaml_text import read_yaml
from truing.runs.directory import RunDirectory
from truing.runs.files import read_json
from truing.runs.lineage import Lineage, StageRecord
from truing.runs.metrics import read_jsonl

Row = dict[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class StageFiles:
    """One stage: how far it came, and its figures. Without files, `result`, `metrics` and `samples` are empty."""

    record: StageRecord
    result: Row
    metrics: list[Row]
    samples: list[Row]

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def done(self) -> bool:
        return self.record.state == "done"

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of a metric, on the lines that have it."""
        points = [(figure(row, "step"), figure(row, key)) for row in self.metrics]
        kept = [(step, value) for step, value in points if step is not None and value is not None]
        return [step for step, _ in kept], [value for _, value in kept]

    def judges(self) -> list[str]:
        """Names of the judges that looked at this stage."""
        named = [key.removeprefix("judge_") for row in self.metrics for key in row if key.startswith("judge_")]
        return list(dict.fromkeys([*table(self.result, "judges"), *named]))


@dataclass(frozen=True)
class RunFiles:
    """A run directory, read."""

    root: Path
    recipe: Row
    lineage: Lineage
    stages: list[StageFiles]

    @property
    def name(self) -> str:
        name = self.recipe.get("name")
        return name if isinstance(name, str) else self.root.resolve().name


def read_run(root: Path) -> RunFiles:
    """Reads the files of a run, finished or not. RunError if `root` holds no run, or a file of it is damaged."""
    run = RunDirectory(root)
    lineage = run.lineage
    text = run.recipe.read_text(encoding="utf-8", errors="replace") if run.recipe.is_file() else ""
    recipe = table({"recipe": read_yaml(text).value}, "recipe")
    return RunFiles(root, recipe, lineage, [_stage(run, record) for record in lineage.stages])


def figure(row: Row, key: str) -> float | None:
    """A finite number, or None."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def ends(row: Row, key: str) -> Interval | None:
    """A pair of finite numbers, or None."""
    value = row.get(key)
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = (figure({"end": end}, "end") for end in value)
    return None if low is None or high is None else (low, high)


def table(row: Row, key: str) -> Row:
    """A nested object, or an empty one."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def rows(row: Row, key: str) -> list[Row]:
    """A list of objects, or an empty one."""
    value = row.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def words(row: Row, key: str) -> list[str]:
    """A list of strings, or an empty one."""
    value = row.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _stage(run: RunDirectory, record: StageRecord) -> StageFiles:
    files = run.stage(record.name)
    result = read_json(files.result) if files.result.is_file() else {}
    return StageFiles(
        record,
        result if isinstance(result, dict) else {},
        read_jsonl(files.metrics) if files.metrics.is_file() else [],
        read_jsonl(files.samples) if files.samples.is_file() else [],
    )
