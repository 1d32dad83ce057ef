"""Links from the documentation to a line of code: `[`name`](../src/file.py#L12)` has `name` on line 12.

Run as a script, it brings every such link up to date.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[`(?P<name>\w+)`\]\((?P<file>[^)#\s]+\.py)#L(?P<line>\d+|\?)\)")


@dataclass(frozen=True)
class CodeLink:
    """One link, and the line on which its name is defined."""

    page: Path
    text: str
    line: str
    wanted: int | None


def code_links() -> Iterator[CodeLink]:
    for page in PAGES:
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            wanted = definition(page.parent / match["file"], match["name"])
            yield CodeLink(page, match[0], match["line"], wanted)


def definition(file: Path, name: str) -> int | None:
    """The line (from 1) that defines a function or class, or None."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    pattern = re.compile(rf"\s*(def|class) {name}\b")
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), None)


def update() -> None:
    for link in code_links():
        if link.wanted is not None and link.line != str(link.wanted):
            new = link.text.replace(f"#L{link.line})", f"#L{link.wanted})")
            text = link.page.read_text(encoding="utf-8")
            link.page.write_text(text.replace(link.text, new), encoding="utf-8")


if __name__ == "__main__":
    update()
