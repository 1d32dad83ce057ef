"""Holding rows out by prompt, so that no prompt is both learnt from and tested on."""

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from truing import draws
from truing.errors import DataError
from truing.recipe import Data, Source
from truing.records import Demonstration, Preference, Prompt, Text

R = TypeVar("R", Demonstration, Preference, Prompt)


def read_split(
    read: Callable[[Source, bool], list[R]], source: Source, heldout: Source | None, data: Data, seed: int, what: str
) -> tuple[list[R], list[R]]:
    """(to learn from, held out): the held-out rows come from a file of their own, or are split off by prompt."""
    records = read(source, data.transcripts)
    if heldout is None:
        return split_by_prompt(records, data.heldout, seed, what)
    return records, read(heldout, data.transcripts)


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
            mend="Add rows with other prompts, or give the held-out rows a file of their own.",
        )
    prompts = list(rows)
    order = [prompts[index] for index in draws.permutation(seed, f"split {what}", count=len(prompts))]
    room = min(round(heldout * len(records)), len(records) - 1)
    taken: set[Text] = set()
    for prompt in order:
        if rows[prompt] <= room:
            taken.add(prompt)
            room -= rows[prompt]
    taken = taken or {min(order, key=lambda prompt: rows[prompt])}
    return [r for r in records if r.prompt not in taken], [r for r in records if r.prompt in taken]
