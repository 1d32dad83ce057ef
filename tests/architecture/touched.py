"""Which tests a change touches, as tests/ mirrors src/truing/: `python tests/architecture/touched.py HEAD`.

Prints those of what differs from a commit or is not in git yet. Of a changed source file these are the tests of its
name, or of its whole room where none has it; of a changed test, itself; of what the tests of a room share, the room.
Of a page they are the site, its commands and the tests of its name. House rules, links and tables of pages are asked
every time. Those marked `long` are named too, and left out by `make check`.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = ("tests/architecture", "tests/docs/test_pages.py")
SITE, COMMANDS = "tests/docs/test_site.py", "tests/docs/test_commands.py"
OUTSIDE = {
    "benchmarks": ("tests/benchmarks",),
    "examples": ("tests/examples", COMMANDS),
    "recipes": ("tests/config", COMMANDS),
} | dict.fromkeys(
    ("pyproject.toml", "constraints.txt", "constraints-lowest.txt", "Containerfile", ".dockerignore"),
    ("tests/release",),
)
"""Tests of what lies outside the package and is no page"""
HISTORY = ("CHANGELOG.md", "log.md")
"""Pages whose commands are those of earlier days, and are not run"""
EVERYTHING = "tests"


def touched(changed: Iterable[str]) -> list[str]:
    """Files and folders of tests, by paths from the root of the project."""
    found = {*ALWAYS, *(tests for name in changed for tests in _tests_of(Path(name)) if (ROOT / tests).exists())}
    return [EVERYTHING] if EVERYTHING in found else sorted(found)


def _tests_of(path: Path) -> Iterator[str]:
    match path.parts:
        case ("src", "truing", *rooms, file):
            own = Path("tests", *rooms, f"test_{file}")
            yield str(own if (ROOT / own).exists() else own.parent)
        case ("tests", *_):
            yield str(path if path.name.startswith("test_") else path.parent)
        case ("docs", part, *_):  # docs/tutorial/ and docs/python.md have tests of their names
            yield f"tests/docs/test_{Path(part).stem.replace('-', '_')}.py"
        case (outside, *_):
            yield from OUTSIDE.get(outside, ())
    if path.suffix == ".md":
        yield from (SITE,) if path.name in HISTORY else (SITE, COMMANDS)


def changed_since(base: str) -> list[str]:
    """Paths that differ from a commit, and those of new files."""
    listings = (["diff", "--name-only", "--relative", base], ["ls-files", "--others", "--exclude-standard"])
    return [name for listing in listings for name in _git(*listing)]


def _git(*arguments: str) -> list[str]:
    """The lines that it prints."""
    printed = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return printed.splitlines()


if __name__ == "__main__":
    print(*touched(changed_since(*sys.argv[1:])), sep="\n")
