"""Holding rows out by prompt, so that no prompt is both learnt from and tested on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from truing.core import rng
from truing.core.errors import DataError, Problem
from truing.core.records import Demonstration, Preference, Rating
from truing.data.encode import EncodedRow

R = TypeVar("R", Demonstration, Preference, Rating)


def overlap(heldout: Sequence[R], records: Sequence[R], name: str) -> list[Problem]:
    """What is wrong where held-out rows say what rows that are learnt from say; prompts alone may be shared."""
    places = {_said(record): record.where for record in records}
    seen = [(row.where, places[_said(row)]) for row in heldout if _said(row) in places]
    if not seen:
        return []
    where, twin = seen[0]
    what = f"{len(seen)} of {len(heldout)} held-out {name} are learnt from as well, this one at {twin}."
    hint = "Take them out of one of the two files, or leave the held-out file out: then rows are split off."
    return [Problem("data/heldout-learnt-from", None, what, hint, where)]


def _said(record: Demonstration | Preference | Rating) -> Demonstration | Preference | Rating:
    """A record without where it stands and is from."""
    if isinstance(record, Preference):
        return replace(record, where="", source="")
    return replace(record, where="")


def split_by_prompt(
    rows: Sequence[EncodedRow], heldout: float, seed: int, what: str
) -> tuple[list[EncodedRow], list[EncodedRow]]:
    """(kept, held out), both in the order of `rows`, with no prompt on both sides.

    Prompts are taken in a random order that depends on `seed` and `what` alone, while their rows still fit into
    `heldout`, a share of all rows; at least one prompt is held out and one is kept. DataError where there is only one.
    """
    counts = Counter(row.prompt_index for row in rows)
    if len(counts) < 2:
        raise DataError(
            f"the {what} have {'only one prompt' if counts else 'no prompt'}, too few to hold some out.",
            code="data/none-to-hold-out",
            where=rows[0].where if rows else None,
            hint="Add rows with other prompts, or give the held-out rows a file of their own.",
        )
    prompts = list(counts)
    order = [prompts[index] for index in rng.permutation(seed, f"split {what}", count=len(prompts))]
    room = min(round(heldout * len(rows)), len(rows) - 1)
    taken: set[int] = set()
    for prompt in order:
        if counts[prompt] <= room:
            taken.add(prompt)
            room -= counts[prompt]
    taken = taken or {min(order, key=lambda prompt: counts[prompt])}
    return [row for row in rows if row.prompt_index not in taken], [row for row in rows if row.prompt_index in taken]
