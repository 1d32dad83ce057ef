"""Who is given what, and what they said: every method is one transaction, on the disk before it returns."""

import json
import secrets
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from truing.labelling.database import Database, now
from truing.labelling.items import MIDDLE, STEPS, Mode
from truing.labelling.places import count_places

LEFT_ALONE = 1800.0
"""Seconds after which what somebody was given and has not judged may go to another who has nothing else to do"""


class PageError(Exception):
    """What a page asked cannot be done; the text is for who sits before it, `status` for the browser."""

    def __init__(self, text: str, status: int = 409) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Vote:
    """What a page sends."""

    client: str
    """Made by the page, new for each vote; the same when it is sent again"""
    assignment: int
    kind: str
    """vote, both-bad or skip"""
    value: int | None = None
    """Of a vote, as the sides were shown"""
    reason: str | None = None
    comment: str | None = None
    flagged: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class Given:
    """What a person is to judge now."""

    assignment: int
    prompt: Any
    answers: list[Any]
    """The left one first"""
    is_again: bool = False
    """Whether it was judged before, and that was taken back"""
    comment: str | None = None
    """What was said of it then, which the next judgement carries unless it is changed"""
    flagged: bool = False
    """Whether it was flagged then"""


@dataclass
class Store:
    """The votes of one database."""

    database: Database
    mode: Mode
    _seen: dict[int, float] = field(default_factory=lambda: defaultdict(time.monotonic))
    """When an assignment was last shown or, of one from before this process began, first met"""

    def next(self, person: int) -> Given | None:
        """What this person has before them: what they were given last, else something new; None if all is done."""
        with self.database.writing() as sql:
            return self._following(sql, person)

    def vote(self, person: int, vote: Vote) -> Given | None:
        """Keeps a vote, and gives what `next` does. One that is sent again is kept once.

        Raises:
            PageError: it is none of this mode, or not on something that this person has before them.
        """
        self._check(vote)
        with self.database.writing() as sql:
            if _is_known(sql, vote.client):
                return self._following(sql, person)
            row = _assigned(sql, vote.assignment, person)
            if sql.execute("SELECT 1 FROM standing WHERE assignment = ?", (vote.assignment,)).fetchone():
                raise PageError("You have judged this one already, perhaps on another page. Undo takes it back.")
            _append(sql, vote, self._as_stored(vote.value, row["flipped"]))
            sql.execute("UPDATE assignments SET released = 0 WHERE id = ?", (vote.assignment,))
            count_places(sql, row["item"])
            return self._following(sql, person)

    def undo(self, person: int, client: str) -> Given | None:
        """Takes back the person's last standing vote; gives what `next` does, which is what that was on.

        What was withdrawn cannot be judged again, as what a run has decided by, so what was said of it stays.

        Raises:
            PageError: there is none.
        """
        query = (
            "SELECT max(standing.id) AS id, assignment, item FROM standing JOIN items ON items.id = item"
            " WHERE person = ? AND NOT settles AND NOT withdrawn"
        )
        with self.database.writing() as sql:
            if _is_known(sql, client):
                return self._following(sql, person)
            row = sql.execute(query, (person,)).fetchone()
            if row["id"] is None:
                raise PageError("There is nothing to take back.")
            _append(sql, Vote(client, row["assignment"], "undo"), None)
            count_places(sql, row["item"])
            return self._following(sql, person)

    def settle(self, person: int, client: str, item: int, value: int) -> None:
        """Keeps a lead's decision on an item, which stands over all votes; a later one over an earlier.

        Raises:
            PageError: there is no such item, or no such step.
        """
        with self.database.writing() as sql:
            if _is_known(sql, client):
                return
            if not sql.execute("SELECT 1 FROM items WHERE id = ?", (item,)).fetchone():
                raise PageError("There is no such item.", 404)
            given = (item, person, False, True, now())
            sql.execute(
                "INSERT OR IGNORE INTO assignments (item, person, flipped, settles, made) VALUES (?, ?, ?, ?, ?)", given
            )
            query = "SELECT id FROM assignments WHERE item = ? AND person = ? AND settles"
            vote = Vote(client, sql.execute(query, (item, person)).fetchone()["id"], "vote", value)
            self._check(vote)
            _append(sql, vote, value)

    def _following(self, sql: sqlite3.Connection, person: int) -> Given | None:
        row = _open(sql, person)
        if row is None:
            item = _item_for(sql, person) or self._left_alone(sql, person)
            if item is None:
                return None
            row = self._give(sql, item, person)
        self._seen[row["id"]] = time.monotonic()
        content = json.loads(row["content"])
        answers = content["answers"][::-1] if row["flipped"] else content["answers"]
        return Given(row["id"], content["prompt"], answers, **_said_before(sql, row["id"]))

    def _give(self, sql: sqlite3.Connection, item: sqlite3.Row, person: int) -> sqlite3.Row:
        """Sides are drawn; of a swap, they are the other way round from what the person saw."""
        seen = sql.execute(
            "SELECT flipped FROM assignments WHERE item = ? AND person = ? AND NOT settles", (item["swap_of"], person)
        ).fetchone()
        flipped = self.mode == "pairs" and (not seen["flipped"] if seen else bool(secrets.randbelow(2)))
        sql.execute(
            "INSERT INTO assignments (item, person, flipped, settles, made) VALUES (?, ?, ?, FALSE, ?)",
            (item["id"], person, flipped, now()),
        )
        count_places(sql, item["id"])
        row = _open(sql, person)
        assert row is not None, "it was just given"
        return row

    def _left_alone(self, sql: sqlite3.Connection, person: int) -> sqlite3.Row | None:
        """An item that others were given and have not judged for so long that they may have left."""
        waiting = (
            "SELECT assignments.id, items.id AS item FROM assignments JOIN items ON items.id = item"
            " WHERE person != ? AND NOT settles AND NOT released AND NOT withdrawn AND kind != 'swap'"
            " AND NOT EXISTS (SELECT 1 FROM standing WHERE standing.assignment = assignments.id)"
            " AND NOT EXISTS (SELECT 1 FROM assignments AS own WHERE own.item = items.id AND own.person = ?)"
            " ORDER BY assignments.id"
        )
        for row in sql.execute(waiting, (person, person)).fetchall():
            if time.monotonic() - self._seen[row["id"]] > LEFT_ALONE:
                sql.execute("UPDATE assignments SET released = 1 WHERE id = ?", (row["id"],))
                count_places(sql, row["item"])
                return _item_for(sql, person)
        return None

    def _check(self, vote: Vote) -> None:
        low, high = STEPS[self.mode]
        if vote.kind not in ("vote", "skip", *(["both-bad"] if self.mode == "pairs" else [])):
            raise PageError("This page sends votes of a kind that is not collected here: reload it.", 422)
        if vote.kind == "vote" and (vote.value is None or not low <= vote.value <= high):
            raise PageError(f"A vote is a whole number from {low} to {high}.", 422)
        if vote.kind != "vote" and vote.value is not None:
            raise PageError("Only a vote has a value: reload the page.", 422)

    def _as_stored(self, value: int | None, flipped: bool) -> int | None:
        """With the first answer on the left."""
        return 2 * MIDDLE - value if value is not None and flipped else value


def _open(sql: sqlite3.Connection, person: int) -> sqlite3.Row | None:
    """What the person was given and has not judged: first what was last taken back."""
    query = (
        "SELECT assignments.id, flipped, content,"
        " (SELECT max(votes.id) FROM votes WHERE votes.assignment = assignments.id) AS undone"
        " FROM assignments JOIN items ON items.id = item"
        " WHERE person = ? AND NOT settles AND NOT withdrawn AND (NOT released OR places > 0)"
        " AND NOT EXISTS (SELECT 1 FROM standing WHERE standing.assignment = assignments.id)"
        " ORDER BY undone DESC NULLS LAST, assignments.id LIMIT 1"
    )
    row: sqlite3.Row | None = sql.execute(query, (person,)).fetchone()
    return row


def _said_before(sql: sqlite3.Connection, assignment: int) -> dict[str, Any]:
    """What was taken back, as `Given` has it; nothing where nothing was."""
    query = "SELECT comment, flagged FROM votes WHERE assignment = ? AND kind != 'undo' ORDER BY id DESC LIMIT 1"
    row = sql.execute(query, (assignment,)).fetchone()
    return {"is_again": True, "comment": row["comment"], "flagged": bool(row["flagged"])} if row else {}


def _item_for(sql: sqlite3.Connection, person: int) -> sqlite3.Row | None:
    """The first item with a place that the person was not given; a swap only to who has judged its original."""
    own = "EXISTS (SELECT 1 FROM assignments WHERE person = :person AND NOT settles AND item = "
    query = (
        "SELECT id, swap_of FROM items WHERE places > 0 AND NOT withdrawn"
        f" AND NOT {own} items.id) AND (kind != 'swap' OR {own} items.swap_of)) ORDER BY rank LIMIT 1"
    )
    row: sqlite3.Row | None = sql.execute(query, {"person": person}).fetchone()
    return row


def _assigned(sql: sqlite3.Connection, assignment: int, person: int) -> sqlite3.Row:
    query = (
        "SELECT item, flipped, withdrawn FROM assignments JOIN items ON items.id = item"
        " WHERE assignments.id = ? AND person = ? AND NOT settles"
    )
    row: sqlite3.Row | None = sql.execute(query, (assignment, person)).fetchone()
    if row is None:
        raise PageError("What this page shows was not given to you here; the page goes on with what is.", 404)
    if row["withdrawn"]:
        raise PageError("What this page shows was withdrawn meanwhile; the page goes on with the next.", 410)
    return row


def _is_known(sql: sqlite3.Connection, client: str) -> bool:
    return sql.execute("SELECT 1 FROM votes WHERE client = ?", (client,)).fetchone() is not None


def _append(sql: sqlite3.Connection, vote: Vote, value: int | None) -> None:
    sql.execute(
        "INSERT INTO votes (client, assignment, kind, value, reason, comment, flagged, seconds, made)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            vote.client,
            vote.assignment,
            vote.kind,
            value,
            vote.reason,
            vote.comment,
            vote.flagged,
            vote.seconds,
            now(),
        ),
    )
