"""Numbers and words, made fit to be read."""

import math
from collections.abc import Callable
from datetime import datetime

MISSING = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None) -> str:
    """About three significant digits: 1,234 · 12.3 · 0.85 · 0.012 · 1.2 × 10⁻⁵."""
    return MISSING if value is None else numbers(value)[0]


def numbers(*values: float) -> list[str]:
    """Figures to be compared, with as many decimals as the largest of them needs: −0.04 and 0.52."""
    size = max(map(abs, values))
    if size >= 1e6 or 0 < size < 1e-3:
        return [_scientific(value) for value in values]
    decimals = (
        0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 1 - math.floor(math.log10(size))
    )
    return [f"{value:z,.{decimals}f}".replace("-", "−") for value in values]


def nats(value: float | None) -> str:
    """A KL to two decimals: what is less is rounding."""
    return MISSING if value is None else f"{value:z,.2f}".replace("-", "−")


def setting(value: float | None) -> str:
    """A number as a person would have set it: 0.1 · 0 · 0.0734."""
    return MISSING if value is None else f"{value:.3g}".replace("-", "−")


def win_share(strength: float) -> float:
    """Of answers that win, from their log-odds."""
    return 1 / (1 + math.exp(-strength))


def whole(value: float | None) -> str:
    """A count: 2,880."""
    return MISSING if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share of 1 in per cent: 68.6%."""
    return MISSING if value is None else f"{100 * value:z.1f}%".replace("-", "−")


def arrow(first: float, last: float, form: Callable[[float], str] | None = None) -> str:
    """From where to where: −0.04 → 0.52."""
    return " → ".join(numbers(first, last) if form is None else map(form, (first, last)))


def interval(ends: tuple[float, float] | None, form: Callable[[float], str] | None = None) -> str:
    """An interval in square brackets, or nothing."""
    return "" if ends is None else _bracketed(*(map(form, ends) if form else numbers(*ends)))


def difference(value: float, ends: tuple[float, float]) -> str:
    """A change with its interval: +0.57 [0.28, 0.86]."""
    by, *bounds = numbers(value, *ends)
    return f"{'+' if value > 0 else ''}{by} {_bracketed(*bounds)}"


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


def moment(text: str) -> str:
    """A time of run.json: 2026-01-31 12:00 UTC. As it is where it is no time."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def listed(words: list[str]) -> str:
    """A, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capitalised(words: str) -> str:
    """With its first letter large, the rest as it is."""
    return words[:1].upper() + words[1:]


def clipped(text: str, most: int) -> str:
    """The text, or its first `most` characters and how many more there are."""
    return text if len(text) <= most else f"{text[:most]} … {len(text) - most:,} more characters"


def _scientific(value: float) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−")


def _bracketed(low: str, high: str) -> str:
    return f"[{low}, {high}]"
