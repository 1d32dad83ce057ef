"""Gold at the end of every run, a column a case and a line a seed."""

from pathlib import Path

import matplotlib as mpl
from guard.page import Runs, seeds_of
from guard.runs import GUARDED, GUARDED_HONEST, HONEST, PLAIN, WORLDS, World
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GROUPS = ((*PLAIN, GUARDED), (HONEST, GUARDED_HONEST))
"""Cases that a line joins"""
NAMES = ("β = 0", "0.02", "0.1", "guard\nfrom β = 0", "true reward\nβ = 0", "true reward\nguard")


def draw(runs: Runs, path: Path) -> None:
    """A panel a world."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, world in zip(figure.subplots(1, len(WORLDS)), WORLDS, strict=True):
        panel(axes, runs, world)
    with mpl.rc_context({"svg.hashsalt": "guard", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def panel(axes: Axes, runs: Runs, world: World) -> None:
    """Hollow circles are the peak on the way."""
    start = 0
    for cases, colour in zip(GROUPS, ("#c85a00", "#0066a8"), strict=True):
        for seed in seeds_of(runs, world):
            there = [(place, runs.get((world, seed, case))) for place, case in enumerate(cases, start)]
            known = [(place, run.end, run.peak) for place, run in there if run is not None]
            places, ends, peaks = zip(*known, strict=True) if known else ((), (), ())
            axes.plot(places, ends, "-o", color=colour, linewidth=0.6, markersize=4, alpha=0.7)
            axes.plot(places, peaks, "o", color=colour, markersize=4, fillstyle="none", alpha=0.5)
        start += len(cases)
    axes.axhline(0, color="#999999", linewidth=0.6)
    axes.set_xticks(range(len(NAMES)), NAMES, fontsize=7)
    axes.set_title(f"{world.name}: gold at the end (hollow: its peak)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
