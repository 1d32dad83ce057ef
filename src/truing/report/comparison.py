"""The policies of a run side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from truing.report.change import Change, beta, heldout_score, judged, moved, updates
from truing.report.glossary import GLOSSARY
from truing.report.run_files import StageFiles, figure
from truing.report.wording import MISSING, arrow, interval, nats, number, setting, share, whole


@dataclass(frozen=True)
class Cell:
    """A figure of one policy: in short, and in small print."""

    value: str
    details: list[str]


@dataclass(frozen=True)
class Measure:
    """One figure across the policies."""

    title: str
    cells: list[Cell]


def label(stage: StageFiles) -> str:
    """A policy's name, with its β where that is known."""
    value = beta(stage)
    return stage.name if value is None else f"{stage.name}, β = {setting(value)}"


def comparison(stages: Sequence[StageFiles]) -> list[Measure]:
    """A line a figure; lines that nobody measured are left out."""
    judges = dict.fromkeys(name for stage in stages for name in stage.judges())
    measures = [
        Measure(GLOSSARY["updates"].title, [Cell(whole(updates(stage)), []) for stage in stages]),
        Measure(GLOSSARY["beta"].heading, [Cell(setting(beta(stage)), []) for stage in stages]),
        Measure(GLOSSARY["score"].heading, [_cell(heldout_score(stage)) for stage in stages]),
        *(Measure(f"Judge: {name}", [_cell(judged(stage, name)) for stage in stages]) for name in judges),
        _moved("kl", "heldout_kl", stages, nats),
        _moved("kl_exact", "kl_exact", stages, nats),
        _moved("length", "heldout_length", stages),
        _moved("eos_rate", "heldout_eos_rate", stages, share),
        _moved("distinct_2", "distinct_2", stages),
        _moved("entropy", "entropy", stages),
        Measure(GLOSSARY["ratio_max_deviation"].title, [Cell(number(_deviation(stage)), []) for stage in stages]),
    ]
    return [measure for measure in measures if any(cell.value != MISSING for cell in measure.cells)]


def _moved(term: str, key: str, stages: Sequence[StageFiles], form: Callable[[float], str] | None = None) -> Measure:
    return Measure(GLOSSARY[term].heading, [_cell(moved(stage, key), form) for stage in stages])


def _cell(change: Change | None, form: Callable[[float], str] | None = None) -> Cell:
    if change is None:
        return Cell(MISSING, [])
    intervals = [f"{interval(change.first_ci)} → {interval(change.last_ci)}"] if change.first_ci else []
    differences = [f"change {change.difference}"] if change.difference else []
    return Cell(arrow(change.first, change.last, form), intervals + differences)


def _deviation(stage: StageFiles) -> float | None:
    _, values = stage.series("ratio_max_deviation")
    return max(values, default=figure(stage.result, "ratio_max_deviation"))
