"""Names that other people's files have for the columns that are read here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from truing.core.records import Demonstration, Preference, Prompt
from truing.core.text import nearest

R = TypeVar("R", Demonstration, Preference, Prompt)
ID = "id"
"""Of a row, whatever else it says"""

ALIASES = {
    "prompt": ("instruction", "question", "query", "input", "prompts"),
    "completion": ("response", "output", "answer", "completions", "target", "reply", "text"),
    "chosen": ("preferred", "better", "winner", "chosen_response", "response_chosen", "accepted"),
    "rejected": ("dispreferred", "worse", "loser", "rejected_response", "response_rejected", "other"),
    "messages": ("conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
    "margin": (),
    "label": ("desirable", "is_desirable", "kto_tag", "liked", "thumbs_up", "rating"),
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


@dataclass(frozen=True)
class Taken:
    """The further columns of a prompt's row that functions take by keyword."""

    names: frozenset[str] = frozenset()
    others: bool = False
    """Whether one takes whatever there is, by `**columns`"""

    def __contains__(self, name: str) -> bool:
        return self.others or name in self.names

    def __or__(self, other: "Taken") -> "Taken":
        return Taken(self.names | other.names, self.others or other.others)


ALL_TAKEN = Taken(others=True)
"""Where it is not known what functions take"""


def further(values: Mapping[str, object]) -> dict[str, object]:
    """What a row has beside the columns that make records; a prompt taken from other rows has nothing of their answers.

    A `label` is of an answer where the row has one, and a column like others where it has none.
    """
    is_answered = any(name in values for name in ("completion", "messages"))
    return {
        name: value for name, value in values.items() if name not in ALIASES or (name == "label" and not is_answered)
    }


def as_json(columns: Mapping[str, object]) -> str:
    """Columns as a record carries them; what JSON has no form for, such as a date, becomes text."""
    return json.dumps(columns, default=str) if columns else ""


def parsed(columns: str) -> dict[str, object]:
    """The columns that a record carries."""
    return dict(json.loads(columns)) if columns else {}


def with_every_column(records: Sequence[R]) -> list[R]:
    """Records of which each carries the columns of all, null where its row has none of that name."""
    rows = [parsed(record.columns) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    filled = [as_json({name: row.get(name) for name in names}) for row in rows]
    return [replace(record, columns=columns) for record, columns in zip(records, filled, strict=True)]
