"""What people said of the pairs that a run asks about, once enough of them have."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from truing.labelling.database import Database
from truing.labelling.items import MIDDLE
from truing.labelling.places import SETTING

SAID = (
    "SELECT item, person, standing.kind, value, settles FROM items JOIN standing ON item = items.id"
    " WHERE withdrawn = 0 ORDER BY standing.id"
)
"""Of what is shown: a run looks twice a second, and what earlier looks asked may be long"""


def verdicts(database: Database, keys: Collection[str]) -> dict[str, list[float]]:
    """Of each pair that needs nobody any more, what was said of it, a number for each vote.

    1 where the first answer is better, by however much; 0 where the second is; ½ for alike, and for both bad. A lead
    who settled it is alone in saying so. A skip says nothing: another person is given the pair, and what all who have
    a link skipped has nobody's word, as has what was withdrawn.

    Args:
        database: where they were asked.
        keys: of the items that are asked about.
    """
    with database.reading() as sql:
        each = int(sql.execute("SELECT value FROM settings WHERE name = ?", (SETTING,)).fetchone()["value"])
        people = {row["person"] for row in sql.execute("SELECT person FROM links")}
        items = [row for row in sql.execute("SELECT id, key, withdrawn FROM items ORDER BY rank") if row["key"] in keys]
        said: dict[int, list[Any]] = defaultdict(list)
        for row in sql.execute(SAID):
            said[row["item"]].append(row)
    return {
        item["key"]: [] if item["withdrawn"] else _votes(said[item["id"]])
        for item in items
        if item["withdrawn"] or _needs_nobody(said[item["id"]], each, people)
    }


def still_asked(database: Database) -> set[str]:
    """The keys of pairs that are shown, and of which there is no verdict yet; controls are none."""
    with database.reading() as sql:
        shown = {row["key"] for row in sql.execute("SELECT key FROM items WHERE known IS NULL AND NOT withdrawn")}
    return shown - verdicts(database, shown).keys() if shown else set()


def last_vote(database: Database) -> int:
    """Its number, which is another as soon as anybody has judged anything, or taken it back."""
    with database.reading() as sql:
        return int(sql.execute("SELECT coalesce(max(id), 0) FROM votes").fetchone()[0])


def _needs_nobody(rows: Sequence[Any], each: int, people: Collection[int]) -> bool:
    met = {row["person"] for row in rows}
    judged = sum(row["kind"] != "skip" for row in rows)
    return any(row["settles"] for row in rows) or judged >= each or (bool(people) and met.issuperset(people))


def _votes(rows: Sequence[Any]) -> list[float]:
    settled = [row for row in rows if row["settles"]]
    return [_share(row) for row in settled[-1:] or rows if row["kind"] != "skip"]


def _share(row: Any) -> float:
    if row["kind"] == "both-bad" or row["value"] == MIDDLE:
        return 0.5
    return float(row["value"] < MIDDLE)
