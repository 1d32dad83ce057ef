"""What people said, as rows: in TRL's columns, ready to be learnt from, or every vote with all that is known of it."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from truing.data.fields import is_sound
from truing.labelling.database import Database
from truing.labelling.items import BY_LEAD, LEARNT_FROM, MIDDLES, Mode


def rows_to_learn_from(database: Database, mode: Mode) -> list[dict[str, Any]]:
    """One row an item on which people, or the lead who settled it, came down on one side.

    What a lead has withdrawn is not among them, nor are answers that no row may have, such as an empty one.

    Returns:
        Of pairs: prompt, chosen, rejected, margin (the mean vote's distance from the middle, in steps: 0 to 3),
        share (of the people who preferred one side, those who preferred `chosen`), votes (how many).
        Of ratings: prompt, completion, label (whether the mean is above the middle), rating (the mean), votes.
        Of yes and no: prompt, completion, label (what most said), share (of people who said so), votes.
    """
    return list(rows_by_item(database, mode).values())


def rows_by_item(database: Database, mode: Mode) -> dict[str, dict[str, Any]]:
    """The rows of `rows_to_learn_from`, by the key of their item."""
    votes = {key: found for key, found in _votes_by_item(database).items() if found[0]["shown_as"] in LEARNT_FROM}
    judged = {key: (json.loads(found[0]["content"]), _counted(found)) for key, found in votes.items()}
    rows = {
        key: row_of(content, values, mode, MIDDLES[mode])
        for key, (content, values) in judged.items()
        if _can_be_learnt(content["answers"])
    }
    return {key: row for key, row in rows.items() if row is not None}


def _can_be_learnt(answers: Sequence[Any]) -> bool:
    turns = (answer if isinstance(answer, list) else [{"content": answer}] for answer in answers)
    return all(is_sound(turn["content"]) for answer in turns for turn in answer)


def every_vote(database: Database) -> Iterator[dict[str, Any]]:
    """All rows of votes, what was taken back too, in the order in which they came, each with its item in full."""
    query = (
        "SELECT votes.id AS vote, votes.kind, value, reason, comment, flagged, seconds, votes.made,"
        " people.name AS person, assignment, flipped AS second_on_the_left, settles,"
        " items.key AS item, items.kind AS shown_as, items.known, items.withdrawn,"
        " original.key AS swap_of, items.content FROM votes"
        " JOIN assignments ON assignments.id = assignment JOIN people ON people.id = person"
        " JOIN items ON items.id = assignments.item LEFT JOIN items AS original ON original.id = items.swap_of"
        " ORDER BY votes.id"
    )
    with database.reading() as sql:
        rows = [dict(row) for row in sql.execute(query)]
    for row in rows:
        flags = {name: bool(row[name]) for name in ("flagged", "second_on_the_left", "settles", "withdrawn")}
        content = json.loads(row.pop("content"))
        yield row | flags | content


def mean_votes(database: Database) -> dict[str, float]:
    """The mean vote on each item that has one, by the item's key; the lead's alone where they settled it.

    What a lead has withdrawn is not among them.
    """
    return {key: fmean(_counted(votes)) for key, votes in _votes_by_item(database).items()}


def _votes_by_item(database: Database) -> dict[str, list[Any]]:
    """Those that stand, by the item's key, in the order in which items are shown and votes came."""
    query = (
        "SELECT items.key, items.kind AS shown_as, standing.value, settles, content"
        " FROM standing JOIN items ON items.id = item"
        f" WHERE standing.kind = 'vote' AND NOT withdrawn & {BY_LEAD} ORDER BY items.rank, standing.id"
    )
    by_item: dict[str, list[Any]] = defaultdict(list)
    with database.reading() as sql:
        for row in sql.execute(query):
            by_item[row["key"]].append(row)
    return by_item


def _counted(votes: Sequence[Any]) -> list[int]:
    """The lead's decision alone, where there is one."""
    settled = [vote["value"] for vote in votes if vote["settles"]]
    return settled[-1:] or [vote["value"] for vote in votes]


def row_of(content: dict[str, Any], values: Sequence[float], mode: Mode, middle: float) -> dict[str, Any] | None:
    """The row of one item's votes; None where they are even, or where the fewer outweigh the more of a pair."""
    mean = fmean(values)
    prompt, answers = content["prompt"], [_as_completion(content["prompt"], answer) for answer in content["answers"]]
    if mean == middle:
        return None
    agreeing = sum((value - middle) * (mean - middle) > 0 for value in values)
    share = agreeing / sum(value != middle for value in values)
    if mode == "pairs" and share < 0.5:
        return None
    if mode == "pairs":
        chosen, rejected = answers if mean < middle else answers[::-1]
        sides = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        return {**sides, "margin": abs(mean - middle), "share": share, "votes": len(values)}
    label = {"prompt": prompt, "completion": answers[0], "label": mean > middle}
    return {**label, **({"rating": mean} if mode == "rate" else {"share": share}), "votes": len(values)}


def _as_completion(prompt: Any, answer: Any) -> Any:
    """After a prompt of turns, a list of turns, as TRL has it."""
    return (
        [{"role": "assistant", "content": answer}] if isinstance(prompt, list) and isinstance(answer, str) else answer
    )
