"""The drawings of the report: curves over steps, strengths over looks, calibration, accuracies and shifts with their
intervals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from truing.core.metrics import Bounds, Metric
from truing.core.results import CalibrationPoint, GuardLook, Interval
from truing.report.svg import DASHES, INK, MUTED, PAPER, SERIES, blank, inline_svg, series_colour
from truing.report.wording import win_share

_MOST_POINTS = 400
_MOST_DOTS = 30
_DASHED: Any = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 3))}
_PER_CENT = FuncFormatter(lambda value, _: f"{100 * value:g}%".replace("-", "−"))


class IntervalRow(NamedTuple):
    """What is measured, the number and its interval."""

    title: str
    value: float
    ci95: Interval | None


@dataclass(frozen=True)
class Strengths:
    """How strong the policy of a series was at each look of its guard, and the step that is kept."""

    series: int
    looks: Sequence[GuardLook]
    kept: float

    @property
    def chains(self) -> list[list[GuardLook]]:
        """Looks one behind the other, each beginning with that from which training went on: a new one after a return.

        The beginning is a look without judgements.
        """
        known = {0: GuardLook(0, 0, 0, 0.0, 0.0, (0.0, 0.0))}
        chains: list[list[GuardLook]] = []
        for look in self.looks:
            if not chains or chains[-1][-1].step != look.since:
                chains.append([known[look.since]])
            chains[-1].append(look)
            known[look.step] = look
        return chains


@dataclass(frozen=True)
class Line:
    """A curve: `thin` for what was measured on the way, thick for what counts, with intervals at its ends."""

    steps: Sequence[float]
    values: Sequence[float]
    series: int = 0
    thin: bool = False
    first_ci: Interval | None = None
    last_ci: Interval | None = None


def line_chart(name: str, metric: Metric, lines: Sequence[Line], x_label: str = "update") -> Markup:
    """Curves of a metric over steps, in axes that end at its bounds."""
    figure, axes = blank(3.4, 2.0)
    for line in lines:
        _draw(axes, line)
    if metric.zero:
        _show_zero(axes, lines)
    _bound(axes, metric.bounds)
    last = max(max(line.steps) for line in lines) or 1
    axes.set_xlim(-0.03 * last, 1.03 * last)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if metric.percent:
        axes.yaxis.set_major_formatter(_PER_CENT)
    axes.set_xlabel(x_label)
    axes.set_ylabel(metric.unit)
    return inline_svg(figure, name, metric.heading)


def strength_chart(name: str, label: str, guards: Sequence[Strengths]) -> Markup:
    """How often each policy's answers win against those of the beginning, with a 95% band, over the steps of its looks.

    A circle stands round the step that is kept.
    """
    figure, axes = blank(3.4, 2.0)
    axes.axhline(0.5, **_DASHED)
    for guard in guards:
        colour, dash = series_colour(guard.series), DASHES[guard.series % SERIES]
        style: dict[str, Any] = {"color": colour, "linestyle": (0, dash) if dash else "-", "linewidth": 1.5}
        for chain in guard.chains:
            steps, lows, highs = zip(*((look.step, *map(win_share, look.strength_ci95)) for look in chain), strict=True)
            axes.fill_between(steps, lows, highs, color=colour, alpha=0.15, linewidth=0)
            axes.plot(steps, [win_share(look.strength) for look in chain], marker="o", markersize=2.5, **style)
        kept = [look for look in guard.looks if look.step == guard.kept][-1:]
        place = [(look.step, win_share(look.strength)) for look in kept] or [(0, 0.5)]
        axes.plot(*zip(*place, strict=True), "o", color=colour, fillstyle="none", markersize=8, markeredgewidth=1.2)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(_PER_CENT)
    axes.set_xlabel("update")
    axes.set_ylabel("wins against the start")
    return inline_svg(figure, name, label)


def calibration_chart(name: str, label: str, bins: Sequence[CalibrationPoint]) -> Markup:
    """Accuracy over confidence, beside the diagonal on which they are equal; larger dots hold more pairs."""
    figure, axes = blank(3.4, 2.6)
    axes.plot([0.5, 1], [0.5, 1], **_DASHED)
    most = max(each.count for each in bins)
    for each in bins:
        if each.accuracy_ci95:
            axes.plot([each.confidence] * 2, each.accuracy_ci95, color=series_colour(0), linewidth=0.9)
        size = 2.5 + 6 * (each.count / most) ** 0.5
        dot: dict[str, Any] = {"color": series_colour(0), "markersize": size, "markeredgecolor": PAPER}
        axes.plot([each.confidence], [each.accuracy], "o", **dot)
    axes.set_xlim(0.485, 1.015)
    lowest = [each.accuracy_ci95[0] if each.accuracy_ci95 else each.accuracy for each in bins]
    axes.set_ylim(min(0.4, *(low - 0.02 for low in lowest)), 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_PER_CENT)
    axes.set_xlabel("how sure the model was")
    axes.set_ylabel("how often it was right")
    return inline_svg(figure, name, label)


def accuracy_chart(name: str, label: str, rows: Sequence[IntervalRow], own: int = 1) -> Markup:
    """Accuracies with their intervals, one above the other, beside the line of chance; the first are the `own`."""
    figure, axes = _interval_rows(rows, 0.5, own)
    low, high = axes.get_xlim()
    axes.set_xlim(max(0.0, min(low, 0.4)), min(1.0, max(high, 0.8)))
    axes.xaxis.set_major_formatter(_PER_CENT)
    axes.set_xlabel("held-out pairs ranked as people did")
    return inline_svg(figure, name, label)


def shift_chart(name: str, label: str, rows: Sequence[IntervalRow]) -> Markup:
    """Mean shifts of a score with their intervals, one above the other, beside the line of none."""
    figure, axes = _interval_rows(rows, 0.0, len(rows))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.5), max(high, 0.5))
    axes.set_xlabel("shift of the score, in its deviations")
    return inline_svg(figure, name, label)


def _interval_rows(rows: Sequence[IntervalRow], at: float, own: int) -> tuple[Figure, Axes]:
    """Numbers with their intervals, the `own` in colour, beside a dashed line."""
    figure, axes = blank(3.4, 0.75 + 0.3 * len(rows))
    axes.grid(False)
    axes.grid(True, axis="x")
    axes.axvline(at, **_DASHED)
    for place, (_, value, interval) in enumerate(rows):
        colour = series_colour(0) if place < own else MUTED
        if interval:
            axes.plot(interval, [place] * 2, color=colour, linewidth=2.2)
        axes.plot([value], [place], "o", color=colour, markersize=5.5, markeredgecolor=PAPER)
    axes.set_yticks(range(len(rows)), [row for row, _, _ in rows], color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    return figure, axes


def thinned(values: Sequence[float], most: int = _MOST_POINTS) -> list[float]:
    """Means of runs of neighbours, at most `most` of them, so that a long run stays a small page."""
    run = math.ceil(len(values) / most)
    return [fmean(values[start : start + run]) for start in range(0, len(values), run or 1)]


def _draw(axes: Axes, line: Line) -> None:
    steps, values = line.steps, line.values
    colour, dash = series_colour(line.series), DASHES[line.series % SERIES]
    marker = "" if len(values) > _MOST_DOTS or (line.thin and len(values) > 1) else "o"
    dots: dict[str, Any] = {"marker": marker, "markersize": 3.2, "markeredgecolor": PAPER, "markeredgewidth": 0.4}
    style: dict[str, Any] = {"linestyle": (0, dash) if dash else "-", "linewidth": 0.8 if line.thin else 1.5}
    axes.plot(steps, values, color=colour, alpha=0.6 if line.thin else None, **style, **dots)
    for place, interval in ((0, line.first_ci), (-1, line.last_ci)):
        if interval:
            axes.plot([steps[place]] * 2, interval, color=colour, linewidth=1.0)


def _show_zero(axes: Axes, lines: Sequence[Line]) -> None:
    """The axis begins at 0, or ends there where all is below."""
    ends = [end for line in lines for interval in (line.first_ci, line.last_ci) if interval for end in interval]
    drawn = [*ends, *(value for line in lines for value in line.values)]
    if min(drawn) >= 0:
        axes.set_ylim(bottom=0)
    elif max(drawn) <= 0:
        axes.set_ylim(top=0)


def _bound(axes: Axes, bounds: Bounds) -> None:
    """Limits with room for the markers, and no tick above the upper bound."""
    floor, ceiling = bounds
    low, high = axes.get_ylim()
    low = low if floor is None else max(low, floor)
    high = high if ceiling is None else min(high, ceiling + 0.03 * (ceiling - low))
    ticks = MaxNLocator(4).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if low <= tick <= (high if ceiling is None else ceiling + 1e-9)])
    axes.set_ylim(low, high)
