"""The page over all rounds: one self-contained HTML file, beside it every figure that it shows as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from truing.core import metrics
from truing.core.results import Interval
from truing.report.content import plain
from truing.report.overview import Chart
from truing.report.page import fill
from truing.report.svg import MUTED, PAPER, blank, inline_svg, series_colour
from truing.report.wording import whole
from truing.rounds.directory import RoundsDirectory
from truing.rounds.figures import Measurement, Outcome
from truing.rounds.words import headings, sentences, table
from truing.runs.files import write_json, write_text

Point = tuple[int, float, Interval]
"""Labels, a value and its interval"""
TICKS = 8
"""Below a drawing, at most"""


def write_page(outcome: Outcome, directory: RoundsDirectory) -> Path:
    """Writes rounds.json and rounds.html; the path of the page. RunError where the disk refuses."""
    write_json(directory.figures, plain(outcome))
    write_text(directory.page, render(outcome))
    return directory.page


def render(outcome: Outcome) -> str:
    """The page as text."""
    content: dict[str, Any] = {
        "name": outcome.name,
        "lede": f"{len(outcome.rounds)} rounds, {whole(outcome.rounds[-1].spent)} labels to learn from.",
        "sentences": sentences(outcome),
        "charts": list(_charts(outcome)),
        "headings": headings(outcome),
        "rows": table(outcome),
        "judge": outcome.judge,
        "patience": outcome.patience,
    }
    return fill(Path(__file__).with_name("rounds.html"), content)


def _charts(outcome: Outcome) -> list[Chart]:
    spent = [0, *(one.spent for one in outcome.rounds)]
    policies = [outcome.start, *(one.policy for one in outcome.rounds)]
    charts = []
    if outcome.judge is not None:
        judged = _points(spent, [policy.judged for policy in policies])
        reading = "Means over held-out prompts, with 95% intervals; dashed: the start."
        charts.append(_chart(f"Judge: {outcome.judge}", "judge's scale", judged, reading, judged[0][1]))
    gains = [(one.spent, one.gain.mean, one.gain.ci95) for one in outcome.rounds]
    unit = "judge's scale" if outcome.judge else "won less lost, shares"
    reading = "Over the best policy before, prompt by prompt, with 95% intervals. Above 0, the round gained something."
    charts.append(_chart("Gain of each round", unit, gains, reading, 0.0))
    distances = _points(spent, [policy.kl for policy in policies])
    if distances:
        charts.append(_chart("KL to the start", metrics.KL.unit, distances, metrics.KL.definition))
    return charts


def _points(spent: Sequence[int], estimates: Sequence[Measurement | None]) -> list[Point]:
    return [(x, one.value, one.ci95) for x, one in zip(spent, estimates, strict=True) if one is not None]


def apart(places: Sequence[int]) -> list[int]:
    """Those of rising places that can be written side by side below an axis over all of them, the last among them."""
    kept: list[int] = []
    for place in reversed(places):
        if not kept or (kept[-1] - place) * TICKS >= places[-1] - places[0]:
            kept.append(place)
    return kept[::-1]


def _chart(heading: str, unit: str, points: Sequence[Point], reading: str, level: float | None = None) -> Chart:
    """Values against labels, and perhaps a level to compare with."""
    figure, axes = blank(3.6, 2.4)
    colour = series_colour(0)
    if level is not None:
        axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for across, _, ends in points:
        axes.plot([across] * 2, ends, color=colour, linewidth=1.2)
    axes.plot(
        [across for across, _, _ in points],
        [value for _, value, _ in points],
        "o-",
        color=colour,
        linewidth=1.0,
        markersize=5.0,
        markeredgecolor=PAPER,
    )
    axes.margins(x=0.06, y=0.1)
    axes.set_xticks(apart([across for across, _, _ in points]))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("labels")
    axes.set_ylabel(unit)
    name = heading.lower().replace(" ", "-").replace(":", "")
    return Chart(heading, inline_svg(figure, name, f"{heading} against labels"), reading)
