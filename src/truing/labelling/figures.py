"""How far the work is, who did how much of it, and where people do not agree."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from truing.labelling.database import Database
from truing.labelling.items import MIDDLE, Mode
from truing.labelling.places import SETTING

FAR_APART = 3
"""Steps between two ratings of one answer that make it a dispute"""


@dataclass(frozen=True)
class Progress:
    """How far the work is, as a page tells it."""

    own: int
    """Items that the person has judged"""
    done: int
    """Judgements of all people on items that are still shown"""
    total: int
    """Judgements that are wanted"""
    seconds_left: float | None
    """At the person's usual pace, with as many people as have begun; None before they have judged anything"""


@dataclass(frozen=True)
class Share:
    """What one person did."""

    name: str
    role: str
    judged: int
    skipped: int
    flagged: int
    seconds: float | None
    """The median"""
    left: float | None
    """Of the votes that were not in the middle, the share for the left side: near one half where sides do not matter"""
    controls: tuple[int, int]
    """Known answers that were found, and that were judged"""


@dataclass(frozen=True)
class Disputed:
    """An item on which people disagree, or that one of them flagged."""

    id: int
    prompt: Any
    answers: list[Any]
    said: list[str]
    """What each said of it, in words"""
    settled: int | None


def progress(database: Database, person: int) -> Progress:
    """As a page tells it to one person."""
    own = (
        "SELECT seconds FROM standing JOIN items ON items.id = item"
        " WHERE person = ? AND NOT settles AND NOT withdrawn AND standing.kind != 'skip' AND items.kind != 'swap'"
        " ORDER BY standing.id"
    )
    of_all = (
        "SELECT coalesce(sum(judged), 0), count(*) * CAST((SELECT value FROM settings WHERE name = ?) AS INTEGER)"
        " FROM items WHERE withdrawn = 0 AND kind != 'swap'"
    )
    begun = "SELECT count(*) FROM people WHERE EXISTS (SELECT 1 FROM assignments WHERE person = people.id)"
    with database.reading() as sql:
        seconds = [row["seconds"] for row in sql.execute(own, (person,))]
        done, total = sql.execute(of_all, (SETTING,)).fetchone()
        people = sql.execute(begun).fetchone()[0]
    paces = [one for one in seconds[-20:] if one is not None]
    left = median(paces) * max(total - done, 0) / people if paces else None
    return Progress(len(seconds), done, total, left)


def shares(database: Database, mode: Mode) -> list[Share]:
    """Of each person, in the order in which they came."""
    query = (
        "SELECT standing.*, items.known FROM standing JOIN items ON items.id = item"
        " WHERE NOT settles ORDER BY standing.id"
    )
    with database.reading() as sql:
        people = sql.execute("SELECT * FROM people ORDER BY id").fetchall()
        votes: dict[int, list[Any]] = defaultdict(list)
        for row in sql.execute(query):
            votes[row["person"]].append(row)
    return [_share(person["name"], person["role"], votes[person["id"]], mode) for person in people]


def _share(name: str, role: str, rows: Sequence[Any], mode: Mode) -> Share:
    paces = [row["seconds"] for row in rows if row["seconds"] is not None]
    voted = [row for row in rows if row["kind"] == "vote"]
    decided = [row for row in voted if row["value"] != MIDDLE] if mode == "pairs" else []
    for_left = [(row["value"] < MIDDLE) != bool(row["flipped"]) for row in decided]
    controls = [row for row in voted if row["known"] is not None]
    return Share(
        name,
        role,
        sum(row["kind"] != "skip" for row in rows),
        sum(row["kind"] == "skip" for row in rows),
        sum(row["flagged"] for row in rows),
        median(paces) if paces else None,
        sum(for_left) / len(for_left) if for_left else None,
        (sum((row["value"] - MIDDLE) * (row["known"] - MIDDLE) > 0 for row in controls), len(controls)),
    )


def disputes(database: Database, mode: Mode) -> list[Disputed]:
    """Those that are not settled first, then by how long they have been there."""
    query = (
        "SELECT standing.*, people.name, items.content FROM standing JOIN items ON items.id = item"
        " JOIN people ON people.id = person WHERE NOT withdrawn AND items.known IS NULL ORDER BY standing.id"
    )
    by_item: dict[int, list[Any]] = defaultdict(list)
    with database.reading() as sql:
        for row in sql.execute(query):
            by_item[row["item"]].append(row)
    found = [_disputed(item, rows) for item, rows in sorted(by_item.items()) if _is_in_dispute(rows, mode)]
    return sorted(found, key=lambda one: one.settled is not None)


def _is_in_dispute(rows: Sequence[Any], mode: Mode) -> bool:
    values = [row["value"] for row in rows if row["kind"] == "vote" and not row["settles"]]
    if any(row["flagged"] for row in rows):
        return True
    if not values:
        return False
    low: int = min(values)
    high: int = max(values)
    if mode == "pairs":
        both_bad = any(row["kind"] == "both-bad" for row in rows)
        return low < MIDDLE < high or (both_bad and (low < MIDDLE or high > MIDDLE))
    return high - low >= (FAR_APART if mode == "rate" else 1)


def _disputed(item: int, rows: Sequence[Any]) -> Disputed:
    content = json.loads(rows[0]["content"])
    settled = [row["value"] for row in rows if row["settles"]]
    said = [_in_words(row) for row in rows]
    return Disputed(item, content["prompt"], content["answers"], said, settled[-1] if settled else None)


def _in_words(row: Any) -> str:
    what = row["value"] if row["kind"] == "vote" else row["kind"].replace("-", " ")
    flag = ", flagged" if row["flagged"] else ""
    more = "; ".join(text for text in (row["reason"], row["comment"]) if text)
    return f"{row['name']}{' settled it' if row['settles'] else ''}: {what}{flag}{f' ({more})' if more else ''}"
