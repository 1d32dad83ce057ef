"""A report as a reader meets it: text and tables, section by section, and every tag that a browser would see."""

import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

from truing.report import write_report


class Page(HTMLParser):
    """The parsed page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: defaultdict[str, list[str]] = defaultdict(list)
        self.tables: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        """Section id, heading of the row, cells"""
        self._section, self._cells, self._open = "", [""], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append((tag, values))
        self._open = tag
        if tag == "section":
            self._section = values["id"]
        elif tag == "tr":
            self._cells = []
        elif tag in ("th", "td"):
            self._cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            heading, *cells = [" ".join(cell.split()) for cell in self._cells]
            self.tables[self._section][heading] = cells
            self._cells = [""]

    def handle_data(self, data: str) -> None:
        if self._cells:
            self._cells[-1] += data + " "
        self.texts[self._section if self._open != "style" else "style"].append(data)

    def text(self, section: str) -> str:
        return " ".join(" ".join(self.texts[section]).split())

    def drawing(self, label: str) -> str:
        """The SVG that is read out as `label`."""
        start = self.html.index(f'aria-label="{label}"')
        return self.html[start : self.html.index("</svg>", start)]

    def curve(self, label: str, series: int) -> list[tuple[float, float]]:
        """The thick curve of a series, in the units of the axes, which are read off their ticks."""
        drawing = self.drawing(label)
        ticks = re.findall(r'x="([\d.]+)" y="[\d.]+" transform="rotate\(-0 [^>]*>([−\d.]+)</text>', drawing)
        rules = re.findall(r'd="M [\d.]+ ([\d.]+) L [^>]*var\(--rule\); stroke-width: 0.5', drawing)
        across, up = ticks[: len(ticks) - len(rules)], [value for _, value in ticks[-len(rules) :]]
        x = _axis([(float(place), _number(value)) for place, value in across])
        y = _axis([(float(place), _number(value)) for place, value in zip(rules, up, strict=True)])
        (path,) = re.findall(rf'd="([^"]*)"[^>]*stroke: var\(--series-{series}\); stroke-width: 1.5', drawing)
        points = re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path)
        return [(x[0] + x[1] * float(right), y[0] + y[1] * float(down)) for right, down in points]


def report(root: Path) -> Page:
    """Writes the report of a run and reads it."""
    return Page(write_report(root).read_text(encoding="utf-8"))


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def _axis(ticks: list[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope from places to values, by the outermost ticks."""
    (near, low), (far, high) = ticks[0], ticks[-1]
    slope = (high - low) / (far - near)
    return low - slope * near, slope
