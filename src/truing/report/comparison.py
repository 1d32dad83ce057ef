"""The policies of a run side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from truing.core import metrics
from truing.core.metrics import Metric
from truing.core.results import Change
from truing.report.change import beta, change_in_words, change_of, heldout_kl, heldout_score, judged, score_metric
from truing.report.run_files import StageFiles
from truing.report.wording import MISSING, arrow, interval, nats, number, setting, share, whole

OTHER_PROMPTS = (
    "They were not evaluated on the same held-out prompts, so each has a before of its own, and small differences "
    "between them say little."
)


@dataclass(frozen=True)
class Cell:
    """A metric of one policy: in short, and in small print."""

    value: str
    details: list[str]
    measured: Change | float | None


@dataclass(frozen=True)
class Line:
    """One metric across the policies."""

    title: str
    cells: list[Cell]


def label(stage: StageFiles) -> str:
    """A policy's name, with its β where that is known."""
    value = beta(stage)
    return stage.name if value is None else f"{stage.name}, β = {setting(value)}"


def asked_alike(stages: Sequence[StageFiles]) -> bool:
    """Whether those of these policies that were evaluated were on the same held-out prompts.

    One that learns from pairs or ratings leaves out the prompts of those that it learns from.
    """
    asked = [{row["prompt"] for row in stage.samples} for stage in stages if stage.samples]
    return all(one == asked[0] for one in asked)


def comparison(stages: Sequence[StageFiles]) -> list[Line]:
    """A line a metric; lines that no stage measured are left out."""

    def changes(metric: Metric, name: str, form: Callable[[float], str] | None = None) -> Line:
        return Line(metric.heading, [_cell(change_of(stage, name), form) for stage in stages])

    judges = dict.fromkeys(name for stage in stages for name in stage.judges())
    parts = dict.fromkeys(name for stage in stages for name in stage.parts())
    lines = [
        Line(metrics.UPDATES.heading, [_number(stage.latest("step"), whole) for stage in stages]),
        Line(metrics.ANY_BETA.heading, [_number(beta(stage), setting) for stage in stages]),
        Line(score_metric(stages).heading, [_cell(heldout_score(stage)) for stage in stages]),
        *(Line(f"Part: {name}", [_cell(change_of(stage, f"part_{name}")) for stage in stages]) for name in parts),
        *(Line(f"Judge: {name}", [_cell(judged(stage, name)) for stage in stages]) for name in judges),
        Line(metrics.KL.heading, [_cell(heldout_kl(stage), nats) for stage in stages]),
        changes(metrics.KL_EXACT, "kl_exact", nats),
        changes(metrics.LENGTH, "heldout_length"),
        changes(metrics.EOS_RATE, "heldout_eos_rate", share),
        changes(metrics.DISTINCT_2, "distinct_2"),
        changes(metrics.DISTINCT_WORDS, "heldout_distinct_words", whole),
        changes(metrics.SHARED_PHRASES, "heldout_shared_phrases", share),
        changes(metrics.ENTROPY, "entropy"),
        Line(metrics.RATIO_MAX_DEVIATION.heading, [_number(_largest_deviation(stage), number) for stage in stages]),
    ]
    return [line for line in lines if any(cell.value != MISSING for cell in line.cells)]


def _number(value: float | None, form: Callable[[float | None], str]) -> Cell:
    return Cell(form(value), [], value)


def _cell(change: Change | None, form: Callable[[float], str] | None = None) -> Cell:
    if change is None:
        return Cell(MISSING, [], None)
    intervals = f"{interval(change.first_ci95, form)} → {interval(change.last_ci95, form)}" if change.first_ci95 else ""
    details = [detail for detail in (intervals, change_in_words(change)) if detail]
    return Cell(arrow(change.first, change.last, form), details, change)


def _largest_deviation(stage: StageFiles) -> float | None:
    _, values = stage.series("ratio_max_deviation")
    return max(values, default=None)
