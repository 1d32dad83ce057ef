"""What is on disk of a run, however far it got."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truing.config.sections import OWN_PYTHON
from truing.config.stages import STAGES, StageSpec
from truing.config.yaml_text import read_yaml
from truing.core.label_quality import LabelQuality, from_json
from truing.core.metrics import Metric, score_as_given
from truing.core.results import StageResult, read
from truing.runs.directory import RunDirectory
from truing.runs.files import read_json
from truing.runs.lineage import Lineage, StageRecord
from truing.runs.metrics import read_metrics, read_samples

Row = dict[str, Any]
TITLED = 3
"""Changes of a fork that its title names"""
STATES = {"pending": "not begun", "running": "begun, not finished"}


@dataclass(frozen=True)
class StageFiles:
    """One stage: how far it came, and what it measured. Of a stage without files, all is empty."""

    record: StageRecord
    result: StageResult
    metrics: list[Row]
    samples: list[Row]
    rewards: Sequence[Row] = ({"kind": "stage"},)
    """The sources of its score, as its recipe has them; one without any has the reward stage's model"""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def done(self) -> bool:
        return self.record.state == "done"

    @property
    def state(self) -> str:
        """How far it came, in words."""
        return STATES.get(self.record.state, self.record.state)

    @property
    def spec(self) -> StageSpec:
        """Its entry in the registry; a kind that this version does not know has no more than a name."""
        kind = self.record.kind
        nothing: Any = {"train": "", "outcome": "", "learns_from": ("", ""), "metrics": (), "datasets": ()}
        return STAGES.get(kind) or StageSpec(kind, title=kind, **nothing, depends_on=(), makes="language model")

    @property
    def outcome(self) -> str:
        """What came of it, in a sentence; empty where there is nothing to say yet."""
        return str(self.spec.load(self.spec.outcome)(self)) if self.spec.outcome else ""

    @property
    def notes(self) -> list[str]:
        """What was chosen, what became of rows that were too long, and what was changed on loading."""
        told = (*(self.record.remarks or []), self.result.truncation, *(self.result.notes or []))
        return [note for note in told if note]

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of a metric, on the lines that have it."""
        lines = [row for row in self.metrics if row.get("step") is not None and row.get(name) is not None]
        return [row["step"] for row in lines], [row[name] for row in lines]

    def latest(self, name: str) -> float | None:
        """The last value of a metric."""
        _, values = self.series(name)
        return values[-1] if values else None

    def judges(self) -> list[str]:
        """Names of the judges of this stage's responses."""
        return list(dict.fromkeys([*(self.result.heldout.judges or {}), *self._named("judge_")]))

    def parts(self) -> list[str]:
        """Names of the parts of a summed reward."""
        return list(dict.fromkeys(self._named("part_")))

    def on_its_scale(self, metric: Metric) -> Metric:
        """The metric of a score, or of what is on its scale, in the unit that the stage's rewards give it."""
        return score_as_given(metric, (source.get("normalise", True) for source in self.rewards))

    @property
    def scored_by_functions(self) -> bool:
        """Whether the user's Python alone makes its score, and no model."""
        return all(source.get("kind") in OWN_PYTHON for source in self.rewards)

    def _named(self, prefix: str) -> list[str]:
        return [name.removeprefix(prefix) for row in self.metrics for name in row if name.startswith(prefix)]


@dataclass(frozen=True)
class RunFiles:
    """A run directory, read."""

    root: Path
    recipe: Row
    lineage: Lineage
    stages: list[StageFiles]
    labels: dict[str, LabelQuality]
    """How good the labellers were, by the name of the data that they made"""

    @property
    def name(self) -> str:
        name = self.recipe.get("name")
        return name if isinstance(name, str) else self.root.resolve().name

    @property
    def title(self) -> str:
        """Its name; of a fork, also what differs from the run that it was begun from."""
        changes = self.lineage.changes
        more = [f"and {len(changes) - TITLED} more"] if len(changes) > TITLED else []
        return " · ".join([self.name, *changes[:TITLED], *more])


def read_run(root: Path) -> RunFiles:
    """Reads the files of a run, finished or not. RunError if `root` holds no run, or a file of it is damaged."""
    run = RunDirectory(root)
    lineage = run.lineage
    text = run.recipe.read_text(encoding="utf-8", errors="replace") if run.recipe.is_file() else ""
    recipe = read_yaml(text).value
    known = recipe if isinstance(recipe, dict) else {}
    return RunFiles(root, known, lineage, [_stage(run, record, known) for record in lineage.stages], _labels(run))


def _labels(run: RunDirectory) -> dict[str, LabelQuality]:
    found = read_json(run.label_quality) if run.label_quality.is_file() else {}
    qualities = {name: from_json(each) for name, each in found.items()} if isinstance(found, dict) else {}
    return {name: quality for name, quality in qualities.items() if quality is not None}


def _stage(run: RunDirectory, record: StageRecord, recipe: Row) -> StageFiles:
    files = run.stage(record.name)
    result = read_json(files.result) if files.result.is_file() else {}
    return StageFiles(
        record,
        read(StageResult, result if isinstance(result, dict) else {}),
        read_metrics(files.metrics) if files.metrics.is_file() else [],
        read_samples(files.samples) if files.samples.is_file() else [],
        _rewards(record, recipe),
    )


def _rewards(record: StageRecord, recipe: Row) -> list[Row]:
    """The sources of a stage's score: those of its variant, else the recipe's, else those of a recipe without any."""
    rewards, variants = recipe.get("rewards"), recipe.get("variants")
    sources = rewards.get("sources") if isinstance(rewards, dict) else None
    own = variants.get(record.variant) if isinstance(variants, dict) else None
    sources = own.get("rewards.sources", sources) if isinstance(own, dict) else sources
    listed = sources if isinstance(sources, list) else [{"kind": "stage"}]
    return [source for source in listed if isinstance(source, dict)]
