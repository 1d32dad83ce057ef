"""Simulated people on a world whose true reward is known: they see what a page shows and press its keys.

    z = (gold(one) − gold(other)) / temperature + preferences for side and length + a logistic draw

of two answers, and gold(answer) / temperature + ... of one. The key is how many of `CUTS` lie below z: an ordered
logit (McCullagh 1980), in which one answer is preferred as Bradley and Terry have it, up to votes for alike.
"""

import html
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from itertools import islice
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from truing.core import rng
from truing.labelling.items import MIDDLE, Mode
from truing.labelling.store import Given, Store, Vote

Gold = Callable[[Sequence[str], Sequence[str]], list[float]]
"""The true reward of each answer to its prompt"""
CUTS = (-2.5, -1.0, -0.2, 0.2, 1.0, 2.5)
"""Between the seven steps, on the scale of z"""


@dataclass(frozen=True)
class SimulatedPerson:
    """How one judges: honestly by default, with noise."""

    gold: Gold
    temperature: float = 0.5
    """Gold that counts as much as the noise: at 0.5, a difference of 1 is found in 88 of 100"""
    left: float = 0.0
    """What the left side is given on the scale of z"""
    longer: float = 0.0
    """And each word by which an answer is longer"""
    careless: float = 0.0
    """The share of votes that are any key"""
    always: int | None = None
    """The key of one who presses no other"""
    seconds: float = 8.0
    """For a vote, on the mean"""

    def judges(self, given: Given, mode: Mode, seed: int) -> tuple[int, float]:
        """The key, and after how many seconds. The same for the same texts, and mirrored where these change sides."""
        prompt, answers = _words(given.prompt), [_words(answer) for answer in given.answers]
        first, *other = sorted(answers)
        is_flipped = answers[0] != first
        draws = rng.uniform(seed, "simulated vote: " + json.dumps([prompt, first, *other]), count=4)
        seconds = -self.seconds * math.log1p(-float(draws[3]))
        if self.always is not None:
            return self.always, seconds
        z = math.log(draws[0] / (1 - draws[0])) if draws[0] else -math.inf
        values = self.gold([prompt] * len(answers), [first, *other])
        lengths = [len(answer.split()) for answer in (first, *other)]
        z += (values[0] - sum(values[1:])) / self.temperature + self.longer * (lengths[0] - sum(lengths[1:]))
        if draws[1] < self.careless:
            z = _between(int(draws[2] * (len(CUTS) + 1)))
        if mode == "pairs":
            z = (-z if is_flipped else z) + self.left
        return _key(z, mode), seconds


def biased(gold: Gold) -> SimulatedPerson:
    """One who favours the left side and long answers."""
    return SimulatedPerson(gold, left=1.0, longer=0.2)


def careless(gold: Gold) -> SimulatedPerson:
    """One who does not look at half of what is shown."""
    return SimulatedPerson(gold, careless=0.5)


def spammer(gold: Gold) -> SimulatedPerson:
    """One who presses the same key, fast."""
    return SimulatedPerson(gold, always=1, seconds=0.5)


class Desk(Protocol):
    """Where somebody sits before what they are to judge."""

    @property
    def mode(self) -> Mode:
        """Of what is judged there."""

    def next(self) -> Given | None:
        """What is to be judged now."""

    def vote(self, vote: Vote) -> Given | None:
        """Sends a vote; gives what is next."""


@dataclass(frozen=True)
class AtStore:
    """Beside the store, in its process."""

    store: Store
    person: int

    @property
    def mode(self) -> Mode:
        """Of the store."""
        return self.store.mode

    def next(self) -> Given | None:
        return self.store.next(self.person)

    def vote(self, vote: Vote) -> Given | None:
        return self.store.vote(self.person, vote)


class AtPage:
    """Before the page, by the requests that its script makes."""

    def __init__(self, link: str, mode: Mode = "pairs") -> None:
        """Args:
        link: as `truing label` prints it.
        mode: of what is judged there.
        """
        self.mode = mode
        url, _, self._token = link.partition("/?t=")
        self._url = urlsplit(url)
        self._cookie = f"truing-label-{self._url.port or 443}={self._token}"

    def next(self) -> Given | None:
        return self._asked("GET", "/api/next")

    def vote(self, vote: Vote) -> Given | None:
        return self._asked("POST", "/api/vote", json.dumps(asdict(vote)))

    def _asked(self, method: str, path: str, body: str | None = None) -> Given | None:
        """RuntimeError where the page refuses."""
        connection = HTTPConnection(self._url.netloc, timeout=30)
        headers = {"cookie": self._cookie, "origin": self._url.geturl(), "content-type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            told: Any = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the page answers {answer.status}: {told}")
        item = json.loads(told)["item"]
        return None if item is None else _as_read(item)


def judge_all(person: SimulatedPerson, desk: Desk, seed: int, most: int | None = None) -> int:
    """Has a person judge until nothing is left, or so many; how many that were."""
    votes = iter(lambda: _judge_next(person, desk, seed), False)
    return sum(islice(votes, most))


def _judge_next(person: SimulatedPerson, desk: Desk, seed: int) -> bool:
    given = desk.next()
    if given is not None:
        key, seconds = person.judges(given, desk.mode, seed)
        desk.vote(Vote(str(uuid4()), given.assignment, "vote", key, seconds=round(seconds, 2)))
    return given is not None


def _as_read(item: dict[str, Any]) -> Given:
    """An item that a page shows, its HTML as what one reads there."""
    texts = [html.unescape(re.sub(r"<[^>]+>", " ", shown)) for shown in (item["prompt"], *item["answers"])]
    return Given(item["assignment"], texts[0], texts[1:], item["is_again"])


def _words(text: Any) -> str:
    """Of a text or of turns, as one reads them, however the lines are broken."""
    return " ".join((text if isinstance(text, str) else " ".join(turn["content"] for turn in text)).split())


def _between(step: int) -> float:
    """A z of this step, counted from 0."""
    ends = (CUTS[0] - 1.0, *CUTS, CUTS[-1] + 1.0)
    return (ends[step] + ends[step + 1]) / 2


def _key(z: float, mode: Mode) -> int:
    if mode == "yes-no":
        return int(z > 0)
    steps = sum(z > cut for cut in CUTS) - len(CUTS) // 2
    return MIDDLE - steps if mode == "pairs" else MIDDLE + steps
