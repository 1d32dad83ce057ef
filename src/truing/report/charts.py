"""Which curves are drawn, from which metrics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from truing.core import metrics
from truing.core.metrics import Metric
from truing.core.results import Change
from truing.report.card_charts import BAG_OF_WORDS, Chart, interval_rows
from truing.report.change import heldout_score, judged, score_metric
from truing.report.drawings import (
    IntervalRow,
    Line,
    Strengths,
    accuracy_chart,
    calibration_chart,
    line_chart,
    strength_chart,
    thinned,
)
from truing.report.run_files import StageFiles


@dataclass(frozen=True)
class Plot:
    """A metric over the steps: the values named `thick` over those named `thin`, intervals of `change` at the ends."""

    metric: Metric
    thick: str = ""
    thin: str = ""
    legend: str = ""
    change: Callable[[StageFiles], Change | None] = lambda _: None


_PROMPTS = "Dots: held-out prompts; thin: each update's own."
_HELDOUT = "Dots: held-out prompts."
_ENDS = "Bars: 95% intervals."
_BATCH = "Each step's batch."
_PAIRS = "Dots: {pairs}; thin: each step's batch."

_STAGE = [
    Plot(metrics.LOSS, "heldout_loss", "loss", "Dots: held-out rows; thin: each step's batch."),
    Plot(metrics.PAIR_LOSS, "heldout_loss", "loss", _PAIRS),
    *(Plot(loss, thin="loss") for loss in (metrics.DPO_LOSS, metrics.KTO_LOSS, metrics.SIMPO_LOSS, metrics.ORPO_LOSS)),
    Plot(metrics.ACCURACY, "heldout_accuracy", "accuracy", _PAIRS),
    Plot(metrics.MARGIN, "score_gap_mean", "margin", _PAIRS),
    Plot(metrics.OWN_MARGIN, "score_gap_mean", "margin", _PAIRS),
    Plot(metrics.RATED_MARGIN, thin="margin"),
    Plot(metrics.CHOSEN_LOGPROB, "heldout_chosen_logprob", "chosen_logprob", _PAIRS),
]
"""Drawn for each stage that has the metric"""
_SCORE = Plot(metrics.SCORE, "heldout_score", "score", f"{_PROMPTS} {_ENDS}", heldout_score)
_KL = Plot(metrics.KL, "heldout_kl", "kl_exact", "Dots: held-out prompts; thin: exact, each update's own.")
_RESPONSES = [
    Plot(metrics.LENGTH, "heldout_length", "length", _PROMPTS),
    Plot(metrics.EOS_RATE, "heldout_eos_rate", "eos_rate", _PROMPTS),
    Plot(metrics.DISTINCT_2, "distinct_2"),
    Plot(metrics.DISTINCT_WORDS, "heldout_distinct_words", legend=_HELDOUT),
    Plot(metrics.SHARED_PHRASES, "heldout_shared_phrases", legend=_HELDOUT),
]
_OPTIMISATION = [
    Plot(metrics.ENTROPY, "entropy"),
    Plot(metrics.CLIP_FRACTION, "clip_fraction"),
    Plot(metrics.APPROX_KL, "approx_kl"),
    Plot(metrics.EXPLAINED_VARIANCE, "explained_variance", legend="Not drawn below −1."),
    Plot(metrics.VALUE_LOSS, "value_loss"),
    Plot(metrics.GRAD_NORM, "grad_norm"),
]


def stage_charts(stage: StageFiles) -> list[Chart]:
    """What held-out pairs say of a stage's reward, and how the stage learnt."""
    own = [
        replace(plot, legend=plot.legend.format(pairs=stage.spec.heldout_pairs))
        for plot in _STAGE
        if plot.metric in stage.spec.metrics
    ]
    return [*_card_charts(stage), *_drawn(stage.name, own, [stage], "step")]


def outcome_charts(stages: Sequence[StageFiles]) -> list[Chart]:
    """The score and its parts, beside it every judge, and the KL that was paid: all policies in the same axes."""
    judges = dict.fromkeys(name for stage in stages for name in stage.judges())
    parts = dict.fromkeys(name for stage in stages for name in stage.parts())
    score = replace(_SCORE, metric=score_metric(stages))
    part = score_metric(stages, metrics.PART)
    plots = [score, *(_part_plot(name, part) for name in parts), *map(_judge_plot, judges), _KL]
    return [*_drawn("outcome", plots, stages), *_guard_charts(stages)]


def _guard_charts(stages: Sequence[StageFiles]) -> Iterator[Chart]:
    """How strong the policies were at the looks of their guards, where they had any."""
    found = [(series, stage.result.guard) for series, stage in enumerate(stages)]
    drawn = [
        Strengths(series, one.guard_strengths, one.guard_kept_step or 0) for series, one in found if one.guard_strengths
    ]
    judges = "people" if all(one.guard_judge == "people" for _, one in found if one.guard_strengths) else "judges"
    if drawn:
        drawing = strength_chart("guard", "Strength by the guard's judgements", drawn)
        reading = (
            f"How often {judges} prefer its answers to those before training: all judgements, smoothed over the looks. "
            "Band: 95% interval. Circle: the update that is kept. Dashed: no better and no worse."
        )
        title = "Guard: judgements of people" if judges == "people" else "Guard: judgements"
        yield Chart(title, drawing, reading, drawn)


def behaviour_charts(stages: Sequence[StageFiles]) -> dict[str, list[Chart]]:
    """How the policies write and how they learnt, in groups; what no stage measured is left out."""
    varied = [stage for stage in stages if len(set(stage.series("beta")[1])) > 1]
    groups = {
        "How it writes": _drawn("writing", _RESPONSES, stages),
        "How the optimisation went": [
            *_drawn("optimising", _OPTIMISATION, stages),
            *_drawn("beta", [Plot(metrics.BETA, "beta")], stages if varied else []),
        ],
    }
    return {title: charts for title, charts in groups.items() if charts}


def _card_charts(stage: StageFiles) -> list[Chart]:
    """Accuracy beside its baseline, and calibration, on held-out pairs."""
    card = stage.result.card
    charts = []
    who = "Implicit reward" if stage.spec.makes_policy else "Reward model"
    accuracies = [
        IntervalRow(title, value, interval)
        for title, value, interval in (
            (who, card.heldout_accuracy, card.heldout_accuracy_ci95),
            (metrics.LONGER_WINS.title, card.longer_wins_accuracy, card.longer_wins_ci95),
        )
        if value is not None
    ]
    accuracies += interval_rows(stage.result.checks or [], BAG_OF_WORDS)
    if accuracies:
        drawing = accuracy_chart(f"{stage.name}-card", "Held-out accuracy", accuracies)
        charts.append(Chart(f"Accuracy on {stage.spec.heldout_pairs}", drawing, f"{_ENDS} Dashed: chance.", accuracies))
    if card.calibration:
        drawing = calibration_chart(f"{stage.name}-calibration", "Calibration", card.calibration)
        reading = f"On the dashed line, it is as sure as it should be; larger dots hold more pairs. {_ENDS}"
        charts.append(Chart(f"Calibration on {stage.spec.heldout_pairs}", drawing, reading, card.calibration))
    return charts


def _part_plot(name: str, metric: Metric) -> Plot:
    return Plot(replace(metric, title=f"{metric.title}: {name}"), f"part_{name}", "", "Dots: held-out prompts.")


def _judge_plot(name: str) -> Plot:
    metric = replace(metrics.JUDGE, title=f"Judge: {name}", unit="judge's scale")
    return Plot(metric, f"judge_{name}", "", f"Dots: held-out prompts. {_ENDS}", partial(judged, judge=name))


def _drawn(prefix: str, plots: Sequence[Plot], stages: Sequence[StageFiles], x_label: str = "update") -> list[Chart]:
    """A chart for each plot of which there is anything to draw."""
    charts = []
    for place, plot in enumerate(plots):
        lines = [line for series, stage in enumerate(stages) for line in _lines(plot, stage, series)]
        if lines:
            drawing = line_chart(f"{prefix}-{place}", plot.metric, lines, x_label)
            alone = plot.thin and not any(stage.series(plot.thick)[1] for stage in stages)
            reading = f"{plot.metric.definition} {_BATCH if alone else plot.legend}".strip()
            charts.append(Chart(plot.metric.title, drawing, reading, lines))
    return charts


def _lines(plot: Plot, stage: StageFiles, series: int) -> list[Line]:
    """The curves that this stage measured; the thin one counts where there is no thick one."""
    thick = stage.series(plot.thick)
    thin = stage.series(plot.thin)
    change = plot.change(stage)
    intervals = (change.first_ci95, change.last_ci95) if change else (None, None)
    lines = [Line(*thin, series, bool(thick[1])), Line(*thick, series, False, *intervals)]
    return [replace(line, steps=thinned(line.steps), values=thinned(line.values)) for line in lines if line.values]
