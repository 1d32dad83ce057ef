"""Docstrings are read in an editor, so they are plain text: formulas stand indented, names between backticks."""

import re
from collections.abc import Iterable, Iterator

from sphinx.application import Sphinx

MARKUP = re.compile(r"([\\*_|`<>])")
SECTION = re.compile(r"(Args|Returns|Raises|Yields):")


def as_rst(lines: Iterable[str]) -> Iterator[str]:
    """Indented lines as they stand, those of a section as a list, `names` as code; nothing else is markup."""
    section = block = False
    for line in lines:
        if SECTION.fullmatch(line):
            section, block = True, False
            yield from (f"**{line}**", "")
        elif section and line:
            item = line.removeprefix("    ")
            yield ("  " if item.startswith(" ") else "- ") + escaped(item.strip())
        elif line.startswith("    "):
            yield from () if block else ("", "::", "")
            block = True
            yield line
        else:
            yield from ("",) if block and line else ()
            section, block = False, block and not line
            yield escaped(line)


def escaped(line: str) -> str:
    parts = re.split(r"`([^`]+)`", line)  # text, code, text, ...
    return "".join(f"``{part}``" if i % 2 else MARKUP.sub(r"\\\1", part) for i, part in enumerate(parts))


def rewrite(app: Sphinx, what: str, name: str, member: object, options: object, lines: list[str]) -> None:
    lines[:] = as_rst(list(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
