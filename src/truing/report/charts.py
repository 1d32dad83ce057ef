"""Which curves are drawn for which stage, from which figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from truing.report.change import Change, heldout_score, judged
from truing.report.figures import Line, accuracy_chart, calibration_chart, line_chart
from truing.report.glossary import GLOSSARY, Term
from truing.report.run_files import Interval, Row, StageFiles, ends, figure, rows


@dataclass(frozen=True)
class Chart:
    """A drawing, its heading, and the line that says how to read it."""

    heading: str
    drawing: Markup
    reading: str


def _unmeasured(_: StageFiles) -> Change | None:
    """No intervals at the ends of the curve."""
    return None


@dataclass(frozen=True)
class Plot:
    """How a metric is drawn: `thick` over `thin`, intervals of `change` at its ends, the axis within its bounds."""

    term: Term
    thick: str
    thin: str | None = None
    legend: str = ""
    change: Callable[[StageFiles], Change | None] = _unmeasured
    floor: float | None = None
    ceiling: float | None = None
    percent: bool = False


_DOTS = "Dots: held-out prompts, intervals at the ends"
_SCORE = Plot(GLOSSARY["score"], "heldout_score", "score", f"{_DOTS}; thin: each update's own.", heldout_score)
_KL = Plot(
    GLOSSARY["kl"], "kl_exact", "kl", "Thick: exact, over the whole vocabulary; thin: estimated from the samples."
)
_WRITING = [
    Plot(GLOSSARY["length"], "length", floor=0.0),
    Plot(GLOSSARY["eos_rate"], "eos_rate", floor=0.0, ceiling=1.02, percent=True),
    Plot(GLOSSARY["distinct_2"], "distinct_2", floor=0.0, ceiling=1.02),
    Plot(GLOSSARY["entropy"], "entropy", floor=0.0),
]
_OPTIMISING = [
    Plot(GLOSSARY["clip_fraction"], "clip_fraction", floor=0.0, percent=True),
    Plot(GLOSSARY["approx_kl"], "approx_kl", floor=0.0),
    Plot(GLOSSARY["explained_variance"], "explained_variance", legend="Not drawn below −1.", floor=-1.0, ceiling=1.02),
    Plot(GLOSSARY["value_loss"], "value_loss", floor=0.0),
    Plot(GLOSSARY["beta"], "beta", floor=0.0),
]


def sft_charts(stage: StageFiles) -> list[Chart]:
    """The loss of supervised fine-tuning."""
    loss = Plot(GLOSSARY["loss"], "heldout_loss", "loss", "Dots: held-out rows; thin: each step's batch.")
    return _drawn(stage.name, [loss], [stage], "step")


def reward_training_charts(stage: StageFiles) -> list[Chart]:
    """Loss and accuracy of the reward model on the batches it learnt from."""
    loss = Plot(GLOSSARY["pair_loss"], "loss", legend="Each step's batch.")
    accuracy = Plot(GLOSSARY["pair_accuracy"], "accuracy", legend="Each step's batch.", ceiling=1.02, percent=True)
    return _drawn(stage.name, [loss, accuracy], [stage], "step")


def reward_card_charts(stage: StageFiles) -> list[Chart]:
    """Accuracy beside its baseline, and calibration, on held-out pairs."""
    charts = []
    accuracies = [
        (title, value, ends(stage.result, interval))
        for title, key, interval in (
            ("Reward model", "heldout_accuracy", "heldout_accuracy_ci95"),
            ("Longer wins", "longer_wins_accuracy", "longer_wins_ci95"),
        )
        if (value := figure(stage.result, key)) is not None
    ]
    if accuracies:
        drawing = accuracy_chart(f"{stage.name}-accuracy", "Held-out accuracy", accuracies)
        charts.append(Chart("Accuracy on held-out pairs", drawing, "Bars: 95% intervals; dashed: chance."))
    bins = [point for row in rows(stage.result, "calibration") if (point := _calibration_point(row))]
    if bins:
        drawing = calibration_chart(f"{stage.name}-calibration", "Calibration", bins)
        reading = "On the dashed line, the model is as sure as it should be; larger dots hold more pairs."
        charts.append(Chart("Calibration on held-out pairs", drawing, reading))
    return charts


def ppo_charts(stages: Sequence[StageFiles]) -> dict[str, list[Chart]]:
    """Small multiples in groups, all variants in the same axes; what no stage measured is left out."""
    judges = dict.fromkeys(name for stage in stages for name in stage.judges())
    groups = {
        "What it learnt": [_SCORE, *map(_judge_plot, judges), _KL],
        "How it writes": _WRITING,
        "How the optimisation went": _OPTIMISING,
    }
    drawn = {
        title: _drawn(f"ppo-{place}", plots, stages, "update") for place, (title, plots) in enumerate(groups.items())
    }
    return {title: charts for title, charts in drawn.items() if charts}


def _judge_plot(name: str) -> Plot:
    term = Term(f"Judge: {name}", "", GLOSSARY["judge"].definition)
    return Plot(term, f"judge_{name}", legend=f"{_DOTS}.", change=partial(judged, judge=name))


def _drawn(prefix: str, plots: Sequence[Plot], stages: Sequence[StageFiles], x_label: str) -> list[Chart]:
    """A chart for each plot of which there is anything to draw."""
    charts = []
    for place, plot in enumerate(plots):
        lines = [line for series, stage in enumerate(stages) for line in _lines(plot, stage, series)]
        if lines:
            drawing = line_chart(
                f"{prefix}-{place}",
                plot.term.heading,
                lines,
                floor=plot.floor,
                ceiling=plot.ceiling,
                percent=plot.percent,
                x_label=x_label,
            )
            charts.append(Chart(plot.term.heading, drawing, f"{plot.term.definition} {plot.legend}".strip()))
    return charts


def _lines(plot: Plot, stage: StageFiles, series: int) -> list[Line]:
    thin = Line(*stage.series(plot.thin), series, thin=True) if plot.thin else None
    change = plot.change(stage)
    intervals = (change.first_ci, change.last_ci) if change else (None, None)
    thick = Line(*stage.series(plot.thick), series, False, *intervals)
    return [line for line in (thin, thick) if line and line.values]


def _calibration_point(row: Row) -> tuple[float, float, float, Interval | None] | None:
    confidence, accuracy, count = (figure(row, key) for key in ("confidence", "accuracy", "count"))
    if confidence is None or accuracy is None or count is None:
        return None
    return confidence, accuracy, count, ends(row, "accuracy_ci95")
