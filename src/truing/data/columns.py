"""Names that other people's files have for the columns that are read here."""

from collections.abc import Iterable

from truing.core.text import nearest

ALIASES = {
    "prompt": ("instruction", "question", "query", "input", "prompts"),
    "completion": ("response", "output", "answer", "completions", "target", "reply", "text"),
    "chosen": ("preferred", "better", "winner", "chosen_response", "response_chosen", "accepted"),
    "rejected": ("dispreferred", "worse", "loser", "rejected_response", "response_rejected", "other"),
    "messages": ("conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
    "margin": (),
}
"""All that is read of a row, each with what it is often called elsewhere"""


def meant_by(name: str) -> str | None:
    """The column that is read and that a column of this name may have been meant as."""
    plain = name.strip().lower()
    called = (column for column, others in ALIASES.items() if plain == column or plain in others)
    return next(called, None) or nearest(name, ALIASES)


def meant_as(column: str, names: Iterable[str]) -> str | None:
    """The first of a row's columns that may be the one that is missing."""
    return next((name for name in names if name not in ALIASES and meant_by(name) == column), None)
