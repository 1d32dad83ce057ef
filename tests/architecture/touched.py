"""Which tests a change touches, as tests/ mirrors src/truing/: `python tests/architecture/touched.py HEAD`.

Prints those of what differs from a commit or is not in git yet. Of a changed source file these are the tests of its
name, or of its whole room where none has it; of a changed test, itself; of what the tests of a room share, the room.
House rules and links of pages are asked every time.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = ("tests/architecture", "tests/docs")
ROOMS = {"benchmarks": "tests/benchmarks", "examples": "tests/examples", "recipes": "tests/config"}
ROOMS |= dict.fromkeys(
    ("pyproject.toml", "constraints.txt", "constraints-lowest.txt", "Containerfile", ".dockerignore"), "tests/release"
)
"""Rooms of tests for what lies outside the package"""
EVERYTHING = "tests"


def touched(changed: Iterable[str]) -> list[str]:
    """Files and folders of tests, by paths from the root of the project."""
    found = {*ALWAYS, *(tests for name in changed if (tests := _tests_of(Path(name))) and (ROOT / tests).exists())}
    return [EVERYTHING] if EVERYTHING in found else sorted(found)


def _tests_of(path: Path) -> str | None:
    match path.parts:
        case ("src", "truing", *rooms, file):
            own = Path("tests", *rooms, f"test_{file}")
            return str(own if (ROOT / own).exists() else own.parent)
        case ("tests", *_):
            return str(path if path.name.startswith("test_") else path.parent)
        case (outside, *_):
            return ROOMS.get(outside)
    return None


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
