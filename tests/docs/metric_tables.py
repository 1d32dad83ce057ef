"""The tables of metrics in docs/algorithms: names, units and definitions as truing.core.metrics has them.

Run as a script, it brings every such table up to date.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from truing.config.stages import STAGES
from truing.core import metrics
from truing.core.metrics import Metric

ROOT = Path(__file__).parents[2]
TABLES: dict[str, Sequence[Metric]] = {
    **{name: spec.metrics for name, spec in STAGES.items()},
    "kl-control": (metrics.KL, metrics.KL_EXACT, metrics.BETA, metrics.APPROX_KL),
}
"""By page"""
HEADER = "| metric | unit | meaning |\n|---|---|---|\n"


def table(measured: Sequence[Metric]) -> str:
    """Names with the same definition share a line. Per cent on a page of the report are shares in the files."""
    names: dict[tuple[str, str], list[str]] = {}
    for metric in measured:
        names.setdefault((metric.unit.replace("%", "share"), metric.definition), []).append(f"`{metric.name}`")
    lines = [f"| {', '.join(group)} | {unit} | {meaning} |\n" for (unit, meaning), group in names.items()]
    return HEADER + "".join(lines).replace("|ratio − 1|", r"\|ratio − 1\|")


def update() -> None:
    for name, measured in TABLES.items():
        page = ROOT / "docs" / "algorithms" / f"{name}.md"
        before, _, after = page.read_text(encoding="utf-8").partition(HEADER)
        rest = re.sub(r"\A(\|.*\n)*", "", after)
        page.write_text(before + table(measured) + rest, encoding="utf-8")


if __name__ == "__main__":
    update()
