"""A matplotlib figure as inline SVG: no clashing ids, no fonts, scripts or addresses, and colours that CSS decides.

Figures are drawn in stand-in colours, which become CSS variables, so that one drawing serves the light page, the dark
page and paper. They hold numbers and the project's own words, no text from data.
"""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from truing.core.text import visible

SERIES = 6
"""Variants that get a colour and a dash pattern of their own."""
DASHES = [(), (4.0, 1.5), (1.0, 1.2), (6.0, 1.5, 1.0, 1.5), (8.0, 2.0), (3.0, 1.0, 1.0, 1.0, 1.0, 1.0)]
"""Their dash patterns, in line widths; the first is solid."""
INK, MUTED, RULE, PAPER = "#0b0b01", "#0b0b02", "#0b0b03", "#0b0b04"
_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
_VARIABLES |= {f"#0c0c0{index}": f"series-{index}" for index in range(SERIES)}
THEME = Path(__file__).with_name("style.css").read_text(encoding="utf-8").partition("* {")[0]
"""The colours by name, light and dark: what the page's style begins with"""
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
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


NEARLY = (0.15, 0.2, 0.8, 0.75)
"""Where axes lie before it is known how much room their labels take"""
PADDING = 3.0
"""Around a drawing, in units of 1/72 inch"""


def series_colour(series: int) -> str:
    """The stand-in colour of a variant."""
    return f"#0c0c0{series % SERIES}"


def dash_array(series: int) -> str:
    """How a line of a variant is broken, as SVG and CSS have it."""
    return " ".join(f"{2 * length:g}" for length in DASHES[series % SERIES]) or "none"


def swatch(series: int) -> Markup:
    """A piece of a variant's line, for legends; of the same form as `inline_svg`."""
    line = Markup(
        '<line x1="0" y1="4" x2="28" y2="4" stroke="var(--series-{})" stroke-width="2" stroke-dasharray="{}"/>'
    )
    drawn = line.format(series % SERIES, dash_array(series))
    return Markup('<svg viewBox="0 0 28 8" role="presentation">') + drawn + Markup("</svg>")


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty drawing, in inches of 72 units."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        return figure, figure.add_subplot()


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The drawing for the page; `name` sets its ids apart from those of others, `label` is read out."""
    buffer = StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.set_dpi(72)
        _lay_out(figure)
        undated = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=undated)
    width, height = (72 * side for side in figure.get_size_inches())
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        f"{width:g}", f"{height:g}", visible(label)
    )
    return opening + Markup(_body(buffer.getvalue(), name))


def _lay_out(figure: Figure) -> None:
    """Puts the one axes where its labels leave room, measured once: the library's engines draw everything twice for it.

    Ticks stay what they are, so that their labels do not change with the room.
    """
    (axes,) = figure.axes
    axes.set_position(NEARLY)
    room = figure.bbox.padded(-PADDING)
    taken, inner = axes.get_tightbbox(for_layout_only=True), axes.bbox
    assert taken is not None
    corners = [
        [inner.x0 + room.x0 - taken.x0, inner.y0 + room.y0 - taken.y0],
        [inner.x1 + room.x1 - taken.x1, inner.y1 + room.y1 - taken.y1],
    ]
    axes.set_position(Bbox(corners).transformed(figure.transFigure.inverted()))


def standalone(drawing: Markup) -> str:
    """What `inline_svg` made as a file of its own, which brings the colours of both themes along."""
    style = f"<style>{THEME} svg {{ font-family: sans-serif; }}</style>"
    opening, rest = str(drawing).split(">", 1)
    return f"{opening} {NAMESPACES}>{style}{rest}"


def _body(drawing: str, name: str) -> str:
    """What is inside the <svg> of a file, fit for a page that holds many."""
    body = drawing[drawing.index(">", drawing.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r'="[^"]*"', lambda found: re.sub(r"(\d\.\d\d)\d+", r"\1", found[0]), body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return " ".join(body.split())
