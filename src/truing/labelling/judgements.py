"""What people's votes say, one by one, as figures on the people are made of them."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from truing.labelling.database import Database
from truing.labelling.items import BY_LEAD, LEARNT_FROM, MIDDLE, Kind, Mode


@dataclass(frozen=True)
class Judgement:
    """A standing vote of one person."""

    item: int
    kind: Kind
    person: str
    value: int
    """With the first answer on the left"""
    is_flipped: bool
    """Whether the second answer stood on the left"""
    seconds: float | None
    """The longest that the person had it before them: after an undo, they have read it already"""
    known: int | None
    swap_of: int | None
    words: int
    """Of the prompt and the answers"""
    longer: int
    """1 where the first answer has more characters, -1 where the second has, 0 where neither"""

    @property
    def is_own(self) -> bool:
        """Whether it is learnt from: neither on a known answer, nor said a second time."""
        return self.kind in LEARNT_FROM

    @property
    def outcome(self) -> int:
        """1 for the first answer, -1 for the second, 0 for alike."""
        return (self.value < MIDDLE) - (self.value > MIDDLE)


def judgements(database: Database) -> list[Judgement]:
    """All that stand, in the order in which they came, but the lead's decisions and those on what a lead withdrew.

    What was skipped or called both bad is none: it has no place on the scale.
    """
    query = (
        "SELECT standing.item, items.kind AS shown_as, people.name, standing.value, flipped, known, swap_of, content,"
        " (SELECT max(seconds) FROM votes WHERE assignment = standing.assignment) AS longest"
        " FROM standing JOIN items ON items.id = item JOIN people ON people.id = person"
        f" WHERE standing.kind = 'vote' AND NOT settles AND NOT withdrawn & {BY_LEAD} ORDER BY standing.id"
    )
    with database.reading() as sql:
        return [_judgement(row) for row in sql.execute(query)]


def by_item(found: Iterable[Judgement]) -> dict[int, list[Judgement]]:
    """Those that are learnt from, by their item."""
    items: dict[int, list[Judgement]] = defaultdict(list)
    for one in found:
        if one.is_own:
            items[one.item].append(one)
    return items


def agree(one: int, other: int, mode: Mode) -> bool:
    """Whether two votes say the same: pairs, the same side, or both alike; ratings, at most a step apart."""
    if mode == "pairs":
        return (one > MIDDLE) - (one < MIDDLE) == (other > MIDDLE) - (other < MIDDLE)
    return abs(one - other) <= (1 if mode == "rate" else 0)


def _judgement(row: Any) -> Judgement:
    content = json.loads(row["content"])
    answers = [_text(answer) for answer in content["answers"]]
    lengths = [len(answer) for answer in answers]
    return Judgement(
        row["item"],
        row["shown_as"],
        row["name"],
        row["value"],
        bool(row["flipped"]),
        row["longest"],
        row["known"],
        row["swap_of"],
        words=sum(len(text.split()) for text in (_text(content["prompt"]), *answers)),
        longer=(lengths[0] > lengths[-1]) - (lengths[0] < lengths[-1]),
    )


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(str(turn["content"]) for turn in content)
