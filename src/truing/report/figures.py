"""Charts as inline SVG, without ids that clash, without fonts, scripts or addresses, in colours that CSS decides.

Charts hold numbers only, no text from data. They are drawn in stand-in colours, which become CSS variables, so that
one drawing serves the light page, the dark page and paper.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from truing.report.run_files import Interval
from truing.report.wording import visible

SERIES = 6
"""Variants that get a colour and a dash pattern of their own."""
DASHES = [(), (4.0, 1.5), (1.0, 1.2), (6.0, 1.5, 1.0, 1.5), (8.0, 2.0), (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)]
"""Their dash patterns, in line widths; the first is solid."""
INK, MUTED, RULE, PAPER = "#0b0b01", "#0b0b02", "#0b0b03", "#0b0b04"
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
_VARIABLES |= {f"#0c0c0{index}": f"series-{index}" for index in range(SERIES)}
_MOST_POINTS = 400
_MOST_DOTS = 30
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "truing",
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "xtick.major.size": 2.5,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Line:
    """A curve: `thin` for what was measured on the way, thick for what counts, with intervals at its ends."""

    steps: Sequence[float]
    values: Sequence[float]
    series: int = 0
    thin: bool = False
    first_ci: Interval | None = None
    last_ci: Interval | None = None


def line_chart(
    name: str,
    label: str,
    lines: Sequence[Line],
    *,
    floor: float | None = None,
    ceiling: float | None = None,
    percent: bool = False,
    x_label: str = "update",
) -> Markup:
    """Curves over steps. `floor` and `ceiling` bound the axis where the curves would go beyond them."""
    figure, axes = _blank(3.4, 1.9)
    for line in lines:
        _draw(axes, line)
    low, high = axes.get_ylim()
    axes.set_ylim(low if floor is None else max(low, floor), high if ceiling is None else min(high, ceiling))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(x_label)
    return _svg(figure, name, label)


def calibration_chart(name: str, label: str, points: Sequence[tuple[float, float, float, Interval | None]]) -> Markup:
    """(confidence, accuracy, pairs, interval) of each bin against the diagonal of honest confidence."""
    figure, axes = _blank(3.4, 2.6)
    axes.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    most = max((count for _, _, count, _ in points), default=1)
    for confidence, accuracy, count, interval in points:
        if interval:
            axes.plot([confidence] * 2, interval, color=_colour(0), linewidth=0.9)
        size = 2.5 + 6 * (count / most) ** 0.5
        axes.plot([confidence], [accuracy], "o", color=_colour(0), markersize=size, markeredgecolor=PAPER)
    axes.set_xlim(0.485, 1.015)
    axes.set_ylim(min([0.4, *(interval[0] - 0.02 for *_, interval in points if interval)]), 1.03)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("how sure the model was")
    axes.set_ylabel("how often it was right")
    return _svg(figure, name, label)


def accuracy_chart(name: str, label: str, rows: Sequence[tuple[str, float, Interval | None]]) -> Markup:
    """Accuracies with their intervals, one above the other, beside the line of chance."""
    figure, axes = _blank(3.4, 0.55 + 0.3 * len(rows))
    axes.grid(False)
    axes.grid(True, axis="x")
    axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for place, (_, accuracy, interval) in enumerate(rows):
        colour = _colour(0) if place == 0 else MUTED
        if interval:
            axes.plot(interval, [place] * 2, color=colour, linewidth=2.2)
        axes.plot([accuracy], [place], "o", color=colour, markersize=5.5, markeredgecolor=PAPER)
    axes.set_yticks(range(len(rows)), [row for row, _, _ in rows], color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    low, high = axes.get_xlim()
    axes.set_xlim(max(0.0, min(low, 0.4)), min(1.0, max(high, 0.8)))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return _svg(figure, name, label)


def thinned(values: Sequence[float], most: int = _MOST_POINTS) -> list[float]:
    """Means of runs of neighbours, at most `most` of them, so that a long run stays a small page."""
    run = math.ceil(len(values) / most)
    return [fmean(values[start : start + run]) for start in range(0, len(values), run or 1)]


def _draw(axes: Axes, line: Line) -> None:
    steps, values = thinned(line.steps), thinned(line.values)
    colour, dash = _colour(line.series), DASHES[line.series % SERIES]
    marker = "" if len(values) > _MOST_DOTS or (line.thin and len(values) > 1) else "o"
    dots: dict[str, Any] = {"marker": marker, "markersize": 3.2, "markeredgecolor": PAPER, "markeredgewidth": 0.4}
    style: dict[str, Any] = {"linestyle": (0, dash) if dash else "-", "linewidth": 0.8 if line.thin else 1.5}
    axes.plot(steps, values, color=colour, alpha=0.6 if line.thin else None, **style, **dots)
    for place, interval in ((0, line.first_ci), (-1, line.last_ci)):
        if interval:
            axes.plot([steps[place]] * 2, interval, color=colour, linewidth=1.0)


def _colour(series: int) -> str:
    return f"#0c0c0{series % SERIES}"


def _blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty chart, in inches of 72 units."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.add_subplot()


def _svg(figure: Figure, name: str, label: str) -> Markup:
    buffer = StringIO()
    with matplotlib.rc_context(_STYLE):
        undated = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=undated)
    width, height = (72 * side for side in figure.get_size_inches())
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        f"{width:g}", f"{height:g}", visible(label)
    )
    return opening + Markup(_inline(buffer.getvalue(), name))


def _inline(drawing: str, name: str) -> str:
    """What is inside the <svg> of a file, fit for a page that holds many: see the module's docstring."""
    body = drawing[drawing.index(">", drawing.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"(\d\.\d\d)\d+", r"\1", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return " ".join(body.split())
