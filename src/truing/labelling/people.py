"""Who labels: a name, a role, and links of which only the hash is kept."""

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Literal

from truing.core.errors import InputError
from truing.labelling.database import Database
from truing.labelling.places import count_places

Role = Literal["labeller", "lead"]
ALONE = "you"
"""Who labels where nobody is named"""


@dataclass(frozen=True)
class Person:
    """Who is behind a link."""

    id: int
    name: str
    role: Role


def new_link(database: Database, name: str, role: Role) -> str:
    """A token for this person, who is added if not there; tokens of earlier links stay good, and a lead stays one.

    Raises:
        InputError: the name is empty or too long.
    """
    if not (0 < len(name.strip()) <= 100 and name.isprintable()):
        what = "a person's name is empty, longer than 100 characters, or has one that cannot be shown."
        raise InputError(what, code="input/person-name", where="--person", hint="Give a short one.")
    name, token = name.strip(), secrets.token_urlsafe(24)
    with database.writing() as sql:
        sql.execute(
            "INSERT INTO people (name, role) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET role = excluded.role WHERE role != 'lead'",
            (name, role),
        )
        person = sql.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()[0]
        sql.execute("INSERT INTO links VALUES (?, ?)", (_hash(token), person))
    return token


def who(database: Database, token: str) -> Person | None:
    """The person whom a token belongs to."""
    query = "SELECT people.* FROM people JOIN links ON links.person = people.id WHERE hash = ?"
    with database.reading() as sql:
        row = sql.execute(query, (_hash(token),)).fetchone()
    return Person(**row) if row else None


def names(database: Database) -> list[str]:
    """Of all who were ever given a link."""
    with database.reading() as sql:
        return [row["name"] for row in sql.execute("SELECT name FROM people ORDER BY id")]


def numbers(database: Database) -> dict[str, int]:
    """Each person's number, which nobody else gets, by their name."""
    with database.reading() as sql:
        return {row["name"]: row["id"] for row in sql.execute("SELECT name, id FROM people ORDER BY id")}


def revoke(database: Database, name: str) -> None:
    """Ends all links of a person; what they said stays. InputError where there is no such person."""
    with database.writing() as sql:
        sql.execute("DELETE FROM links WHERE person = ?", (_known(sql, name),))


def forget(database: Database, name: str) -> int:
    """Deletes a person with all that they said, and gives their places to others.

    Returns:
        How many votes that were.

    Raises:
        InputError: there is no such person.
    """
    with database.writing() as sql:
        person = (_known(sql, name),)
        items = [row["item"] for row in sql.execute("SELECT item FROM assignments WHERE person = ?", person)]
        theirs = "SELECT id FROM assignments WHERE person = ?"
        votes = sql.execute(f"DELETE FROM votes WHERE assignment IN ({theirs})", person).rowcount
        for table, column in (("assignments", "person"), ("links", "person"), ("people", "id")):
            sql.execute(f"DELETE FROM {table} WHERE {column} = ?", person)
        for item in items:
            count_places(sql, item)
    database.truncate_log()
    return votes


def _known(sql: sqlite3.Connection, name: str) -> int:
    row = sql.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
    if row is None:
        names = ", ".join(row["name"] for row in sql.execute("SELECT name FROM people ORDER BY id")) or "nobody"
        what = f"nobody here is called {name}."
        raise InputError(what, code="input/unknown-person", hint=f"There are: {names}.")
    return int(row["id"])


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
