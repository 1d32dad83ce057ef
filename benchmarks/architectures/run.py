"""Which models work: every figure of a run against the library's own, on tiny models of its architectures.

    python benchmarks/architectures/run.py [TYPE ...] [--page PAGE]

Each model is random. truing samples from it, scores, takes the loss of SFT and of the reward model, learns a step and
saves; the same is computed by plain transformers, each row alone, without padding or cache. The largest difference of
each goes into the table of docs/models.md. Exits with 1 where one is above 1e-4, or where truing ends in anything but a
refusal. Some minutes on one core.
"""

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from architectures.families import FAMILIES
from architectures.figures import Figures, figures_of, write_model
from transformers import logging

from truing.core.errors import TruingError

EXACT = 1e-4
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"


@dataclass(frozen=True)
class Outcome:
    """What came of one architecture."""

    name: str
    figures: Figures | None = None
    refusal: str = ""
    crash: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether it is exact, or was refused."""
        return not self.crash and (self.figures is None or self.figures.largest <= EXACT)

    @property
    def row(self) -> str:
        """Of the table."""
        if self.figures is None:
            return f"| {self.name} | {'refused: ' + self.refusal if self.refusal else 'CRASH: ' + self.crash} | | | | |"
        found = self.figures
        reward = "no classifier" if found.reward is None else f"{found.reward:.0e}"
        way = "; ".join(found.notes) or "side by side, from a cache"
        return f"| {self.name} | {way} | {found.sampling:.0e} | {found.loss:.0e} | {reward} | {found.saving:.0e} |"


def outcome_of(name: str, sizes: dict[str, object]) -> Outcome:
    """Of a tiny model of this type."""
    with tempfile.TemporaryDirectory() as place:
        try:
            write_model(name, sizes, Path(place))
            return Outcome(name, figures_of(Path(place)))
        except TruingError as error:
            return Outcome(name, refusal=str(error).split("\n")[0].removeprefix(f"{place}: "))
        except Exception as error:  # whatever it is, it was not refused
            return Outcome(name, crash=f"{type(error).__name__}: {error}".split("\n")[0][:200])


def main() -> int:
    """Tries, prints, writes; 1 where one is neither exact nor refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", help="model types; all without them, and then the page is written")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    lines, unsound = [], []
    for title, family in FAMILIES.items():
        chosen = {name: sizes for name, sizes in family.items() if not given.types or name in given.types}
        lines += [] if not chosen else ["", f"### {title.capitalize()}", "", *HEAD]
        for name, sizes in chosen.items():
            outcome = outcome_of(name, sizes)
            print(outcome.row, flush=True)
            lines.append(outcome.row)
            unsound += [] if outcome.is_sound else [name]
    if not given.types:
        before, rest = given.page.read_text(encoding="utf-8").split(BEGIN)
        table = "\n".join(lines).lstrip() + "\n"
        given.page.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")
    print(f"neither exact to {EXACT:g} nor refused: {', '.join(unsound) or 'none'}")
    return 1 if unsound else 0


HEAD = ["| type | rows are read | sampling, scoring | SFT | reward | saving |", "|---|---|---|---|---|---|"]

if __name__ == "__main__":
    sys.exit(main())
