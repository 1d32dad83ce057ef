"""How far the work is, who did how much of it, and where people do not agree."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from truing.core.text import visible
from truing.labelling.database import Database
from truing.labelling.items import BY_LEAD, GONE, MIDDLE, Mode
from truing.labelling.judgements import agree
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


@dataclass(frozen=True)
class Disputed:
    """An item on which people disagree, or that one of them flagged."""

    id: int
    prompt: Any
    answers: list[Any]
    said: list[str]
    """What each said of it, in words"""
    settled: int | None
    agreeing: tuple[int, int]
    """Pairs of people who agree on it, and all pairs of them"""
    is_withdrawn: bool
    """By a lead"""


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


def shares(database: Database) -> list[Share]:
    """Of each person, in the order in which they came."""
    query = (
        "SELECT name, role, total(kind != 'skip') AS judged, total(kind = 'skip') AS skipped, total(flagged) AS flagged"
        " FROM people LEFT JOIN standing ON person = people.id AND NOT settles GROUP BY people.id ORDER BY people.id"
    )
    with database.reading() as sql:
        return [
            Share(row["name"], row["role"], *(int(row[name]) for name in ("judged", "skipped", "flagged")))
            for row in sql.execute(query)
        ]


def disputes(database: Database, mode: Mode) -> list[Disputed]:
    """Those that are not settled first, then by how long they have been there; last those that a lead has withdrawn.

    What is shown again is no item of its own, and what is said of it settles nothing: a flag on it is one on the item.
    """
    query = (
        "SELECT standing.*, people.name, items.content, items.withdrawn, swap_of FROM standing"
        " JOIN items ON items.id = item JOIN people ON people.id = person"
        f" WHERE NOT withdrawn & {GONE} AND items.known IS NULL AND (swap_of IS NULL OR flagged) ORDER BY standing.id"
    )
    by_item: dict[int, list[Any]] = defaultdict(list)
    with database.reading() as sql:
        for row in sql.execute(query):
            by_item[row["swap_of"] or row["item"]].append(row)
    found = [
        _disputed(item, rows, mode)
        for item, rows in sorted(by_item.items())
        if rows[0]["withdrawn"] or _is_in_dispute(rows, mode)
    ]
    return sorted(found, key=lambda one: (one.is_withdrawn, one.settled is not None))


def _is_in_dispute(rows: Sequence[Any], mode: Mode) -> bool:
    values = _values(rows)
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


def _values(rows: Sequence[Any]) -> list[int]:
    """A number for each person who said one, of the item as it was shown first."""
    return [row["value"] for row in rows if row["kind"] == "vote" and not row["settles"] and row["swap_of"] is None]


def _disputed(item: int, rows: Sequence[Any], mode: Mode) -> Disputed:
    content = json.loads(rows[0]["content"])
    settled = [row["value"] for row in rows if row["settles"]]
    values = _values(rows)
    alike = [agree(one, other, mode) for one, other in combinations(values, 2)]
    return Disputed(
        item,
        content["prompt"],
        content["answers"],
        [_in_words(row) for row in rows],
        settled[-1] if settled else None,
        (sum(alike), len(alike)),
        bool(rows[0]["withdrawn"] & BY_LEAD),
    )


def _in_words(row: Any) -> str:
    what = row["value"] if row["kind"] == "vote" else row["kind"].replace("-", " ")
    flag = ", flagged" if row["flagged"] else ""
    more = "; ".join(visible(text) for text in (row["reason"], row["comment"]) if text)
    when = " settled it" if row["settles"] else ", shown again" if row["swap_of"] else ""
    return f"{row['name']}{when}: {what}{flag}{f' ({more})' if more else ''}"
