"""Which curves are drawn for which stage, from which figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from truing.report.change import Change, heldout_score, judged
from truing.report.drawings import Line, accuracy_chart, calibration_chart, line_chart
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

    @property
    def percent(self) -> bool:
        return self.term.unit.startswith("%")


_LOOKS = "Dots: held-out prompts; thin: each update's own."
_ENDS = "Bars: 95% intervals."
_BATCH = "Each step's batch."
_PAIRS = "Dots: held-out pairs; thin: each step's batch."

_SFT = [Plot(GLOSSARY["loss"], "heldout_loss", "loss", "Dots: held-out rows; thin: each step's batch.")]
_REWARD = [
    Plot(GLOSSARY["pair_loss"], "loss", legend=_BATCH, floor=0.0),
    Plot(GLOSSARY["pair_accuracy"], "accuracy", legend=_BATCH, floor=0.0, ceiling=1.0),
]
_DPO = [
    Plot(GLOSSARY["dpo_loss"], "loss", legend=_BATCH),
    Plot(GLOSSARY["pair_accuracy"], "heldout_accuracy", "accuracy", _PAIRS, floor=0.0, ceiling=1.0),
    Plot(GLOSSARY["margin"], "score_gap_mean", "margin", _PAIRS),
]
_SCORE = Plot(GLOSSARY["score"], "heldout_score", "score", f"{_LOOKS} {_ENDS}", heldout_score)
_KL = Plot(GLOSSARY["kl"], "heldout_kl", "kl_exact", "Dots: held-out prompts; thin: exact, each update's own.")
_WRITING = [
    Plot(GLOSSARY["length"], "heldout_length", "length", _LOOKS, floor=0.0),
    Plot(GLOSSARY["eos_rate"], "heldout_eos_rate", "eos_rate", _LOOKS, floor=0.0, ceiling=1.0),
    Plot(GLOSSARY["distinct_2"], "distinct_2", floor=0.0, ceiling=1.0),
]
_OPTIMISING = [
    Plot(GLOSSARY["entropy"], "entropy", floor=0.0),
    Plot(GLOSSARY["clip_fraction"], "clip_fraction", floor=0.0, ceiling=1.0),
    Plot(GLOSSARY["approx_kl"], "approx_kl", floor=0.0),
    Plot(GLOSSARY["explained_variance"], "explained_variance", legend="Not drawn below −1.", floor=-1.0, ceiling=1.0),
    Plot(GLOSSARY["value_loss"], "value_loss", floor=0.0),
    Plot(GLOSSARY["grad_norm"], "grad_norm", floor=0.0),
]


def sft_charts(stage: StageFiles) -> list[Chart]:
    """The loss of supervised fine-tuning."""
    return _drawn(stage.name, _SFT, [stage], "step")


def reward_charts(stage: StageFiles) -> list[Chart]:
    """What held-out pairs say of the reward model, and how it learnt."""
    return [*_card_charts(stage, "Reward model"), *_drawn(stage.name, _REWARD, [stage], "step")]


def dpo_charts(stage: StageFiles) -> list[Chart]:
    """What held-out pairs say of the policy as a reward model, and how it learnt."""
    return [*_card_charts(stage, "DPO's reward"), *_drawn(stage.name, _DPO, [stage], "step")]


def outcome_charts(stages: Sequence[StageFiles]) -> list[Chart]:
    """The score, beside it every judge, and the KL that was paid: all policies in the same axes."""
    judges = dict.fromkeys(name for stage in stages for name in stage.judges())
    return _drawn("outcome", [_SCORE, *map(_judge_plot, judges), _KL], stages, "update")


def behaviour_charts(stages: Sequence[StageFiles]) -> dict[str, list[Chart]]:
    """How the policies write and how they learnt, in groups; what no stage measured is left out."""
    varied = [stage for stage in stages if len(set(stage.series("beta")[1])) > 1]
    groups = {
        "How it writes": _drawn("writing", _WRITING, stages, "update"),
        "How the optimisation went": [
            *_drawn("optimising", _OPTIMISING, stages, "update"),
            *_drawn("beta", [Plot(GLOSSARY["beta"], "beta", floor=0.0)], stages if varied else [], "update"),
        ],
    }
    return {title: charts for title, charts in groups.items() if charts}


def _card_charts(stage: StageFiles, who: str) -> list[Chart]:
    """Accuracy beside its baseline, and calibration, on held-out pairs."""
    charts = []
    accuracies = [
        (title, value, ends(stage.result, interval))
        for title, key, interval in (
            (who, "heldout_accuracy", "heldout_accuracy_ci95"),
            ("Longer wins", "longer_wins_accuracy", "longer_wins_ci95"),
        )
        if (value := figure(stage.result, key)) is not None
    ]
    if accuracies:
        drawing = accuracy_chart(f"{stage.name}-card", "Held-out accuracy", accuracies)
        charts.append(Chart("Accuracy on held-out pairs", drawing, f"{_ENDS} Dashed: chance."))
    bins = [point for row in rows(stage.result, "calibration") if (point := _calibration_point(row))]
    if bins:
        drawing = calibration_chart(f"{stage.name}-calibration", "Calibration", bins)
        reading = f"On the dashed line, it is as sure as it should be; larger dots hold more pairs. {_ENDS}"
        charts.append(Chart("Calibration on held-out pairs", drawing, reading))
    return charts


def _judge_plot(name: str) -> Plot:
    term = Term(f"Judge: {name}", "judge's scale", GLOSSARY["judge"].definition)
    return Plot(term, f"judge_{name}", legend=f"Dots: held-out prompts. {_ENDS}", change=partial(judged, judge=name))


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
                unit=plot.term.unit,
                floor=plot.floor,
                ceiling=plot.ceiling,
                percent=plot.percent,
                x_label=x_label,
            )
            charts.append(Chart(plot.term.title, drawing, f"{plot.term.definition} {plot.legend}".strip()))
    return charts


def _lines(plot: Plot, stage: StageFiles, series: int) -> list[Line]:
    """The curves that this stage measured; the thin one counts where there is no thick one."""
    thick, thin = stage.series(plot.thick), stage.series(plot.thin) if plot.thin else ([], [])
    change = plot.change(stage)
    intervals = (change.first_ci, change.last_ci) if change else (None, None)
    lines = [Line(*thin, series, bool(thick[1])), Line(*thick, series, False, *intervals)]
    return [line for line in lines if line.values]


def _calibration_point(row: Row) -> tuple[float, float, float, Interval | None] | None:
    confidence, accuracy, count = (figure(row, key) for key in ("confidence", "accuracy", "count"))
    if confidence is None or accuracy is None or count is None:
        return None
    return confidence, accuracy, count, ends(row, "accuracy_ci95")
