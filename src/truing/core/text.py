"""Foreign text, such as names of files and what rows say, made fit to be shown, and names that were mistyped."""

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """The text with every character that would hide, reorder or break what a reader sees written out as ⟨U+202E⟩.

    Line breaks and tabs stay, as do the joiners that scripts and emoji need.
    """
    if text.isascii() and text.isprintable():  # nearly all of it
        return text
    lines = text.replace("\r\n", "\n")
    return "".join(f"⟨U+{ord(character):04X}⟩" if _hides(character) else character for character in lines)


def in_one_line(text: str) -> str:
    """The text of what is one thing, such as a file's name, with its line breaks written out."""
    return text.replace("\n", "⟨U+000A⟩")


def markdown(text: str) -> str:
    """Foreign text within a line of Markdown, where it is text: nothing in it is markup."""
    return re.sub(r"([\\`*_\[\]<>#|&~!$])", r"\\\1", in_one_line(visible(text)))


def code_span(text: str) -> str:
    """The same as code: a name that is to be copied."""
    shown = in_one_line(visible(text)).replace("|", "⟨U+007C⟩").replace("`", "⟨U+0060⟩")
    return f"`{shown}`"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like this one, if any is like it at all."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def _hides(character: str) -> bool:
    """Control, format (bidirectional marks, zero widths), surrogate, unassigned, line and paragraph separators."""
    category = unicodedata.category(character)
    return category in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"} and character not in "\n\t" + _JOINERS
