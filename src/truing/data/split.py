"""Holding rows out by prompt, so that no prompt is both learnt from and tested on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from truing.config.sections import Data, Source
from truing.core import rng
from truing.core.errors import DataError
from truing.core.records import Demonstration, Preference, Prompt, Text

R = TypeVar("R", Demonstration, Preference, Prompt)


def read_split(
    read: Callable[[Source, bool], list[R]], source: Source, heldout: Source | None, data: Data, seed: int, what: str
) -> tuple[list[R], list[R]]:
    """(to learn from, held out): the held-out rows come from a file of their own, or are split off by prompt.

    DataError where a row of that file is learnt from as well.
    """
    records = read(source, data.transcripts)
    if heldout is None:
        return split_by_prompt(records, data.heldout, seed, what)
    own = read(heldout, data.transcripts)
    refuse_learnt(own, records, what)
    return records, own


def refuse_learnt(heldout: Sequence[R], records: Sequence[R], what: str) -> None:
    """DataError where a held-out row says what a row that is learnt from says; prompts alone may be shared."""
    places = {replace(record, where=""): record.where for record in records}
    seen = [(row.where, places[replace(row, where="")]) for row in heldout if replace(row, where="") in places]
    if seen:
        where, twin = seen[0]
        raise DataError(
            f"{len(seen)} of {len(heldout)} held-out {what} are learnt from as well, this one at {twin}.",
            where=where,
            hint="Take them out of one of the two files, or leave the held-out file out: then rows are split off.",
        )


def split_by_prompt(records: list[R], heldout: float, seed: int, what: str) -> tuple[list[R], list[R]]:
    """(kept, held out), both in the order of `records`, with no prompt on both sides.

    Prompts are taken in a random order that depends on `seed` and `what` alone, while their rows still fit into
    `heldout`, a share of all rows; at least one prompt is held out and one is kept. DataError where there is only one.
    """
    rows = Counter(record.prompt for record in records)
    if len(rows) < 2:
        raise DataError(
            f"the {what} have {len(rows)} different prompts, too few to hold some out.",
            where=records[0].where if records else None,
            hint="Add rows with other prompts, or give the held-out rows a file of their own.",
        )
    prompts = list(rows)
    order = [prompts[index] for index in rng.permutation(seed, f"split {what}", count=len(prompts))]
    room = min(round(heldout * len(records)), len(records) - 1)
    taken: set[Text] = set()
    for prompt in order:
        if rows[prompt] <= room:
            taken.add(prompt)
            room -= rows[prompt]
    taken = taken or {min(order, key=lambda prompt: rows[prompt])}
    return [r for r in records if r.prompt not in taken], [r for r in records if r.prompt in taken]
