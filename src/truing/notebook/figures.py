"""Drawings of a run's report that show in a notebook."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from truing.report.card_charts import Chart
from truing.report.page import fill
from truing.report.svg import standalone, swatch

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One drawing."""

    title: str
    reading: str
    """How to read it"""
    svg: str
    """A file of its own: it follows the reader's light or dark theme"""
    labels: Sequence[str] = ()
    """What its lines are of, in the order of their colours, where there are several"""

    @classmethod
    def of(cls, chart: Chart, labels: Sequence[str] = ()) -> "Figure":
        """A chart of the report."""
        return cls(chart.heading, chart.reading, standalone(chart.drawing), labels if len(labels) > 1 else ())

    @property
    def source(self) -> str:
        """See `source`."""
        return source(self.svg)

    def save(self, path: str | Path) -> None:
        """Writes it as an SVG file."""
        Path(path).write_text(self.svg, encoding="utf-8")

    def _repr_html_(self) -> str:
        return Figures([self])._repr_html_()


class Figures(Sequence[Figure]):
    """Several, which show beside each other."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = list(figures)

    @overload
    def __getitem__(self, place: int) -> Figure: ...
    @overload
    def __getitem__(self, place: slice) -> "Figures": ...
    def __getitem__(self, place: int | slice) -> "Figure | Figures":
        """By place."""
        found = self._figures[place]
        return Figures(found) if isinstance(found, list) else found

    def __len__(self) -> int:
        return len(self._figures)

    def named(self, title: str) -> Figure:
        """The first of this title. KeyError, with all titles, where there is none."""
        for figure in self:
            if figure.title == title:
                return figure
        raise KeyError(f"{title!r} is none of {', '.join(repr(figure.title) for figure in self)}")

    def _repr_html_(self) -> str:
        labels = next((figure.labels for figure in self if figure.labels), ())
        legend = [(source(standalone(swatch(series))), label) for series, label in enumerate(labels)]
        return fill(HERE / "figures.html", {"figures": self._figures, "legend": legend})


def source(svg: str) -> str:
    """An address that is the drawing itself: apart from the page, so that no two drawings disturb each other."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
