"""The page of a sweep: one self-contained HTML file, beside it every figure that it shows as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truing.report.content import plain
from truing.report.overview import Chart
from truing.report.page import fill
from truing.runs.files import write_json, write_text
from truing.sweep.charts import marker_of, measure_chart, reward_chart
from truing.sweep.frontier import Frontier
from truing.sweep.measures import metric_of
from truing.sweep.words import fit_table, origins, sentences, table

PAGE, FIGURES = "frontier.html", "frontier.json"
SHAPES = {
    "o": "M 5 1.5 A 3.5 3.5 0 1 1 4.99 1.5 Z",
    "s": "M 1.7 1.7 H 8.3 V 8.3 H 1.7 Z",
    "^": "M 5 1 L 9 9 H 1 Z",
    "D": "M 5 0.6 L 9.4 5 L 5 9.4 L 0.6 5 Z",
    "v": "M 5 9 L 1 1 H 9 Z",
}
"""Of the markers, in a square of ten"""


@dataclass(frozen=True)
class Part:
    """The drawings of policies that begin alike."""

    origin: str
    places: list[int]
    rewards: list[Chart]
    measures: list[Chart]


def write_frontier(found: Frontier, root: Path) -> Path:
    """Writes frontier.json and frontier.html into the sweep's directory; the path of the page.

    Raises:
        RunError: the disk refuses.
    """
    write_json(root / FIGURES, plain(found))
    write_text(root / PAGE, render(found))
    return root / PAGE


def render(found: Frontier) -> str:
    """The page as text."""
    content: dict[str, Any] = {
        "name": found.name,
        "lede": _lede(found),
        "sentences": sentences(found),
        "policies": found.policies,
        "shapes": [SHAPES[marker_of(place)] for place in range(len(found.policies))],
        "parts": [_part(place, origin, found) for place, origin in enumerate(origins(found))],
        "measures": [metric_of(measure) for measure in found.measures],
        "rows": table(found),
        "fits": fit_table(found),
        "keys": ", ".join(found.keys),
    }
    return fill(Path(__file__).with_name(PAGE), content)


def _lede(found: Frontier) -> str:
    keys = ", ".join(found.keys) or "nothing but the seed"
    seeds = ", ".join(map(str, found.seeds))
    return f"{len(found.policies)} policies over {keys}; seeds {seeds}; {found.done} of {found.runs} runs done."


def _part(number: int, origin: str, found: Frontier) -> Part:
    own = [(place, policy) for place, policy in enumerate(found.policies) if policy.origin == origin]
    rewards = [
        Chart(
            metric_of(reward).title,
            reward_chart(f"reward-{number}-{place}", found, origin, reward),
            f"{metric_of(reward).definition} {_HOW_TO_READ}",
        )
        for place, reward in enumerate(found.rewards)
        if any(reward in policy.last for _, policy in own)  # judges may be what differs
    ]
    measures = [
        Chart(
            metric_of(measure).title,
            measure_chart(f"measure-{number}-{place}", own, measure),
            metric_of(measure).definition,
        )
        for place, measure in enumerate(found.measures)
        if measure not in found.rewards
    ]
    return Part(origin, [place for place, _ in own], rewards, measures)


_HOW_TO_READ = (
    "Small: evaluations along each run; large: where each policy ended, with 95% intervals over seeds, which the frame "
    "may cut off. Dashed: best-of-n from the same start, at the most KL it can have. Line: d(α − β log d), fitted to "
    "all evaluations; pale where it fits poorly."
)
