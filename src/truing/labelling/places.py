"""The items of a database, and how many people may still be given each."""

import json
import sqlite3
from collections.abc import Sequence

from truing.labelling.database import Database
from truing.labelling.items import BY_LEAD, GONE, Item, plain

SETTING = "people an item"


def put_items(database: Database, items: Sequence[Item], each: int) -> int:
    """Makes these the items that are given out, in this order, each to so many people.

    Those that were there stay with their votes; one that is not among these any more is withdrawn. What a lead has
    withdrawn stays so.

    Returns:
        How many were given out until now and are not any more.
    """
    gone = f"SELECT id FROM items WHERE withdrawn & {GONE}"
    with database.writing() as sql:
        before = {row["id"] for row in sql.execute(gone)}
        sql.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (SETTING, str(each)))
        sql.execute(f"UPDATE items SET withdrawn = withdrawn | {GONE}")
        for rank, item in enumerate(items):
            _put(sql, item, rank)
        for row in sql.execute("SELECT id FROM items").fetchall():
            count_places(sql, row["id"])
        return len({row["id"] for row in sql.execute(gone)} - before)


def _put(sql: sqlite3.Connection, item: Item, rank: int) -> None:
    content = {"prompt": plain(item.prompt), "answers": list(map(plain, item.answers)), "sources": item.sources}
    sql.execute(
        "INSERT INTO items (key, content, kind, known, swap_of, rank, places, judged)"
        " VALUES (?, ?, ?, ?, (SELECT id FROM items WHERE key = ?), ?, 0, 0)"
        f" ON CONFLICT (key) DO UPDATE SET rank = excluded.rank, kind = excluded.kind, withdrawn = withdrawn & ~{GONE}",
        (item.key, json.dumps(content), item.kind, item.known, item.swap_of, rank),
    )


def withdraw(database: Database, item: int, is_back: bool = False) -> None:
    """Takes an item out, and what shows it again: nobody is given it any more, and it is not exported.

    Its votes stay. `is_back` takes that back.
    """
    bits = f"withdrawn & ~{BY_LEAD}" if is_back else f"withdrawn | {BY_LEAD}"
    with database.writing() as sql:
        sql.execute(f"UPDATE items SET withdrawn = {bits} WHERE id = ? OR swap_of = ?", (item, item))


def count_places(sql: sqlite3.Connection, item: int) -> None:
    """Counts anew after something became of an assignment; one that was skipped or left alone takes no place."""
    given = "SELECT count(*) FROM assignments AS given WHERE given.item = items.id AND NOT settles AND NOT released"
    said = "SELECT {what} FROM standing WHERE standing.{of} AND NOT settles AND standing.kind {kind} 'skip'"
    skipped = said.format(what="1", of="assignment = given.id", kind="=")
    judged = said.format(what="count(*)", of="item = items.id", kind="!=")
    each = "SELECT CAST(value AS INTEGER) FROM settings WHERE name = ?"
    sql.execute(
        f"UPDATE items SET places = ({each}) - ({given} AND NOT EXISTS ({skipped})), judged = ({judged}) WHERE id = ?",
        (SETTING, item),
    )
