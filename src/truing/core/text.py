"""Foreign text, such as names of files and what rows say, made fit to be shown: on a page, and on a terminal."""

import unicodedata

_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """The text with every character that would hide, reorder or break what a reader sees written out as ⟨U+202E⟩.

    Line breaks and tabs stay, as do the joiners that scripts and emoji need.
    """
    lines = text.replace("\r\n", "\n")
    return "".join(f"⟨U+{ord(character):04X}⟩" if _hides(character) else character for character in lines)


def in_one_line(text: str) -> str:
    """The text of what is one thing, such as a file's name, with its line breaks written out."""
    return text.replace("\n", "⟨U+000A⟩")


def _hides(character: str) -> bool:
    """Control, format (bidirectional marks, zero widths), surrogate, unassigned, line and paragraph separators."""
    category = unicodedata.category(character)
    return category in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"} and character not in "\n\t" + _JOINERS
