"""Pages of results: tables, ratios, and targets that are reached or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from harness.machine import Ceilings

REACHED, MISSED = "reached", "missed"
"""What a verdict begins with"""


@dataclass(frozen=True)
class Target:
    """A figure that was to be reached."""

    what: str
    wanted: float
    ratio: float
    at_most: bool = False
    """Whether smaller is better"""
    unit: str = "x"

    @property
    def reached(self) -> bool:
        return self.ratio <= self.wanted if self.at_most else self.ratio >= self.wanted

    @property
    def limit(self) -> str:
        """What was wanted, as `≤ 2x`."""
        return f"{'≤' if self.at_most else '≥'} {self.wanted:g}{self.unit}"

    @property
    def measured(self) -> str:
        """As `2.31x`."""
        return f"{self.ratio:.2f}{self.unit}"

    @property
    def verdict(self) -> str:
        """All of it in a line."""
        return f"{REACHED if self.reached else MISSED}: {self.what}: wanted {self.limit}, measured {self.measured}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def targets(found: Iterable[Target]) -> str:
    """One line each, reached or not."""
    rows = [(t.what, t.limit, t.measured, "yes" if t.reached else "**no**") for t in found]
    return table(("target", "wanted", "measured", "reached"), rows)


def tell(found: Iterable[Target]) -> None:
    """Prints a verdict a line, which `run_all.py` looks for."""
    for target in found:
        print(target.verdict, flush=True)


def rates(found: Ceilings) -> str:
    """How fast products of the model's shapes are, by who computes them and how many rows there are."""
    kinds, counts = (list(dict.fromkeys(key.split()[part] for key in found.rates)) for part in (0, 1))
    rows = [[kind, *(f"{found.rates[f'{kind} {count}'] / 1e9:.0f}" for count in counts)] for kind in kinds]
    return table(["GFLOP/s of products with so many rows", *counts], rows)


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f}"


def write(page: Path, *parts: str) -> None:
    """The page, on disk and on the terminal; a part that is one long line of words is broken."""
    whole = (fill(part, 120) if "\n" not in part.strip() else part.strip() for part in parts if part.strip())
    text = "\n\n".join(whole) + "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(text)
