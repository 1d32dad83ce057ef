"""Every command that a page shows: lines of its shell blocks, and what it quotes in a sentence."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.code_links import PAGES, ROOT

TOLD = [page for page in PAGES if page.name not in ("CHANGELOG.md", "log.md")]
"""What is told of earlier versions and days is not for the reader to repeat"""
READ = [*TOLD, *sorted(ROOT.glob("benchmarks/*.md"))]
COMMENTED = [*sorted(ROOT.glob("recipes/*.yaml")), *sorted(ROOT.glob("examples/*/*.yaml"))]

PROGRAMS = "truing|python|pytest|torchrun|make|pip|pipx|uv|docker|podman|vllm|sbatch|kubectl"
ENVIRONMENT = r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?"
STARTS = re.compile(rf"{ENVIRONMENT}(?:{PROGRAMS}) ")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = ("sh", "bash", "shell", "console")
QUOTED = re.compile(r"`([^`]+)`")
IN_COMMENT = re.compile(r"^#.*: ((?:truing|python) .*)$", re.MULTILINE)
CHOICE = re.compile(r"\[(--[^]]+)\] ?")


@dataclass(frozen=True)
class Command:
    """One as it is shown, without its comment."""

    text: str
    place: str
    """The page, by its path from the root"""
    is_quoted: bool = False
    """In a sentence, where it may be named without all that it needs"""

    @property
    def words(self) -> list[str]:
        return words_of(self.text)


def words_of(text: str) -> list[str]:
    """Of a command, without variables of the environment, and with the program's own name first."""
    words = shlex.split(text)
    first = next(index for index, word in enumerate(words) if not re.fullmatch(r"[A-Z_]+=.*", word))
    return [Path(words[first]).name, *words[first + 1 :]]


def commands() -> list[Command]:
    """All, those of a page in its order."""
    read = [command for page in READ for command in _of_page(page)]
    commented = [
        Command(text, str(path.relative_to(ROOT)))
        for path in COMMENTED
        for text in IN_COMMENT.findall(path.read_text(encoding="utf-8"))
    ]
    return read + commented


def _of_page(page: Path) -> Iterator[Command]:
    text, place = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
    for language, block in BLOCK.findall(text):
        lines = [_bare(line) for line in block.replace("\\\n", " ").splitlines()]
        if language in SHELL or (not language and any(map(STARTS.match, lines))):
            yield from (Command(one, place) for line in filter(None, lines) for one in _choices(line))
    for quoted in QUOTED.findall(BLOCK.sub("", text)):
        line = " ".join(quoted.split())
        if STARTS.match(line):
            yield Command(line, place, is_quoted=True)


def _bare(line: str) -> str:
    """Without the comment behind it, and with single spaces."""
    return " ".join(re.sub(r"(^|\s)#.*", "", line).split())


def _choices(line: str) -> list[str]:
    """`run [--tp 2 | --pp 2]` is three commands: without, and with either."""
    found = CHOICE.search(line)
    if not found:
        return [line]
    return [CHOICE.sub(f"{choice.strip()} ".lstrip(), line).strip() for choice in ["", *found[1].split("|")]]
