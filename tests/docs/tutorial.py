"""The tutorial's cells run in order as one session; run as a script, what each prints is written under it.

A cell is a block of python; where it prints something, the block of text that follows has it.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial"
PAGES = sorted(TUTORIAL.glob("[0-9][0-9]-*.md"))
CELL = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?", re.DOTALL | re.MULTILINE)

UPDATES, EPOCHS = re.compile(r"(\bupdates[=:] ?)\d+"), re.compile(r"(\bepochs[=:] ?)\d+")


@dataclass(frozen=True)
class Cell:
    """A block of code, and where it stands in the text of its page."""

    page: Path
    found: re.Match[str]

    @property
    def line(self) -> int:
        return self.found.string.count("\n", 0, self.found.start("code"))

    @property
    def shown(self) -> str:
        """What the page says that it prints."""
        return self.found["shown"] or ""


def cells() -> Iterator[Cell]:
    for page in PAGES:
        for found in CELL.finditer(page.read_text(encoding="utf-8")):
            yield Cell(page, found)


def run(cell: Cell, names: dict[str, Any], short: bool = False) -> str:
    """What the cell prints, at the page's own lines, so that a traceback names them.

    In short its runs end after two updates, or a pass over their rows, and what it asserts of them is left out.
    """
    text = EPOCHS.sub(r"\g<1>1", UPDATES.sub(r"\g<1>2", cell.found["code"])) if short else cell.found["code"]
    code = compile("\n" * cell.line + text, str(cell.page), "exec", optimize=1 if short else -1)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def update() -> None:
    """Runs all in a folder of its own; drawings that it leaves there are the pages'."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    with TemporaryDirectory() as place, chdir(place):
        told = [(cell, run(cell, names)) for cell in cells()]
        for drawing in Path(place).glob("*.svg"):
            shutil.copy(drawing, TUTORIAL)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for cell, printed in reversed([one for one in told if one[0].page == page]):
            block = f"```python\n{cell.found['code']}```\n" + (f"\n```text\n{printed}```\n" if printed else "")
            text = text[: cell.found.start()] + block + text[cell.found.end() :]
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    update()
