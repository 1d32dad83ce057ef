"""What people are asked: an item is a prompt with two answers, or with one, and which items come first."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from truing.core.records import Text
from truing.core.rng import derived_seed, uniform

Mode = Literal["pairs", "rate", "yes-no"]
STEPS = {"pairs": (1, 7), "rate": (1, 7), "yes-no": (0, 1)}
"""The lowest and the highest vote of each mode. Of pairs: the first answer is much better, ..., the second is"""
MIDDLE = 4
"""Alike, of pairs; neither good nor bad, of ratings"""
MIDDLES = {"pairs": MIDDLE, "rate": MIDDLE, "yes-no": 0.5}
"""What stands for neither side, by mode"""
Kind = Literal["chosen", "random", "control", "swap", "heldout"]
LEARNT_FROM: tuple[Kind, ...] = ("chosen", "random")
"""The kinds of items whose votes become rows"""
GONE, BY_LEAD = 1, 2
"""Why an item is withdrawn, one bit each: the source has it no more; a lead took it out, until they take that back"""


@dataclass(frozen=True)
class Item:
    """One question to people."""

    prompt: Text
    answers: tuple[Text, ...]
    """Two, or one where answers are judged one by one"""
    sources: tuple[str, ...]
    """Where each came from, which who judges does not see"""
    kind: Kind = "chosen"
    """Why it is asked: it teaches most, it was drawn for honest measurement, its answer is known, or sides changed; or
    what two policies answer to a held-out prompt is compared. The last three are not learnt from"""
    teaches: float | None = None
    """How much a judgement is expected to teach, in any unit; None where nothing is known"""
    known: int | None = None
    """Of a control, the vote that is right, or any on its side of the middle"""
    swap_of: str | None = None
    """Of a swap, the key of the item that is shown again with its sides changed"""

    @property
    def key(self) -> str:
        """Names its content, so that the same row of a file is the same item whenever it is read."""
        content = [plain(self.prompt), [plain(answer) for answer in self.answers], self.known, self.swap_of]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def plain(text: Text) -> Any:
    """As JSON has it: text, or a list of turns."""
    return text if isinstance(text, str) else [message.turn for message in text]


def in_order(items: Sequence[Item], random_share: float, seed: int) -> list[Item]:
    """Those that teach most first; among them, evenly spread, a share that was drawn at random and is marked so.

    Figures over the drawn ones hold for all items, whatever order the others are in. Each item has a number of its own,
    and the lowest are drawn: with more items, or another share, those that stay drawn are the same. Where nothing is
    known of what an item teaches, the others keep the order they are in.
    """
    numbers = [derived_seed(seed, f"labelling, random share: {item.key}") for item in items]
    drawn = sorted(range(len(items)), key=numbers.__getitem__)[: round(random_share * len(items))]
    random = [replace(items[index], kind="random") for index in drawn]
    left = [item for index, item in enumerate(items) if index not in set(drawn)]
    left.sort(key=lambda item: -item.teaches if item.teaches is not None else float("inf"))
    return spread([replace(item, kind="chosen") for item in left], random)


def spread(items: Sequence[Item], among: Sequence[Item]) -> list[Item]:
    """The items with `among` evenly between them, both in their order."""
    places = [((index + 0.5) / len(items), item) for index, item in enumerate(items)]
    places += [((index + 0.5) / len(among), item) for index, item in enumerate(among)]
    return [item for _, item in sorted(places, key=lambda place: place[0])]


def swaps_of(items: Sequence[Item], share: float, seed: int) -> list[Item]:
    """A random share of the items, to be shown again, with their sides changed, to who has judged them."""
    draws = uniform(seed, "labelling, swaps", count=len(items))
    drawn = [item for item, draw in zip(items, draws, strict=True) if draw < share]
    return [replace(item, kind="swap", swap_of=item.key) for item in drawn]
