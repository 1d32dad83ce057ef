"""Numbers and foreign text, made fit to be read."""

import math
import unicodedata

MISSING = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINERS = "\u200c\u200d"


def number(value: float | None) -> str:
    """About three significant digits: 1,234 · 12.3 · 0.85 · 0.012 · 1.2 × 10⁻⁵."""
    if value is None:
        return MISSING
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−")
    decimals = (
        0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 1 - math.floor(math.log10(size))
    )
    return f"{value:,.{decimals}f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference: +0.85 · −0.12."""
    return f"+{number(value)}" if value > 0 else number(value)


def whole(value: float | None) -> str:
    """A count: 2,880."""
    return MISSING if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share of 1 in per cent: 68.6%."""
    return MISSING if value is None else f"{100 * value:.1f}%".replace("-", "−")


def interval(ends: tuple[float, float] | None, percent: bool = False) -> str:
    """An interval in square brackets, or nothing."""
    if ends is None:
        return ""
    low, high = (share(end) if percent else number(end) for end in ends)
    return f"[{low}, {high}]"


def duration(seconds: float | None) -> str:
    """3.2 s · 42 s · 2 min 14 s · 1 h 15 min."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def listed(words: list[str]) -> str:
    """A, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capitalised(words: str) -> str:
    """With its first letter large, the rest as it is."""
    return words[:1].upper() + words[1:]


def visible(text: str) -> str:
    """The text with every character that would hide, reorder or break what a reader sees written out as ⟨U+202E⟩.

    Line breaks and tabs stay, as do the joiners that scripts and emoji need.
    """
    lines = text.replace("\r\n", "\n")
    return "".join(f"⟨U+{ord(character):04X}⟩" if _hides(character) else character for character in lines)


def _hides(character: str) -> bool:
    """Control, format (bidirectional marks, zero widths), surrogate, unassigned, line and paragraph separators."""
    category = unicodedata.category(character)
    return category in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"} and character not in "\n\t" + _JOINERS
