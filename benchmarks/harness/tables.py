"""Pages of results: tables, ratios, and targets that are reached or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from harness.machine import Ceilings


@dataclass(frozen=True)
class Target:
    """A ratio that was to be reached."""

    what: str
    wanted: float
    ratio: float
    at_most: bool = False
    """Whether smaller is better"""

    @property
    def reached(self) -> bool:
        return self.ratio <= self.wanted if self.at_most else self.ratio >= self.wanted


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def targets(found: Iterable[Target]) -> str:
    """One line each, reached or not."""
    rows = [
        (t.what, f"{'≤' if t.at_most else '≥'} {t.wanted:g}x", f"{t.ratio:.2f}x", "yes" if t.reached else "**no**")
        for t in found
    ]
    return table(("target", "wanted", "measured", "reached"), rows)


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
