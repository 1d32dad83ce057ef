"""People who wait for a run to show their link, and then judge by a rule, through the page as a browser asks it."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from uuid import uuid4

from truing.labelling.simulated import AtPage
from truing.labelling.store import Given, Vote
from truing.runs.progress import SilentProgress

Rule = Callable[[str, str], int | str | None]
"""Of the left and the right answer, the key that is pressed, or another kind of vote; None for who leaves"""
LINK = re.compile(r"(.*): (http\S+/\?t=\S+)")


def fewer_a(left: str, right: str) -> int:
    """Prefers who says 'a' less often."""
    counts = left.count("a"), right.count("a")
    return 4 if counts[0] == counts[1] else 2 if counts[0] < counts[1] else 6


@dataclass
class Audience(SilentProgress):
    """Whom a run shows what it says; each person begins to judge once their link is there."""

    rules: Mapping[str, Rule]
    said: list[str] = field(default_factory=list)
    shown: list[Given] = field(default_factory=list)
    """What people saw, in the order in which they voted on it"""
    gone: threading.Event = field(default_factory=threading.Event)
    _people: list[threading.Thread] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Hears of a link."""
        self.said.append(text)
        found = LINK.fullmatch(text)
        if found and found[1] in self.rules:
            self._people.append(threading.Thread(target=self._judge, args=(found[2], self.rules[found[1]])))
            self._people[-1].start()

    def leave(self) -> None:
        """Nobody judges any more."""
        self.gone.set()
        for person in self._people:
            person.join(30)

    def _judge(self, link: str, rule: Rule) -> None:
        desk = AtPage(link)
        while not self.gone.wait(0.02):
            try:
                while not self.gone.is_set() and (given := desk.next()) is not None:
                    said = rule(*given.answers)
                    if said is None:
                        return
                    self.shown.append(given)
                    vote = ("vote", said) if isinstance(said, int) else (said, None)
                    desk.vote(Vote(str(uuid4()), given.assignment, *vote, seconds=1.0))
            except (OSError, HTTPException):  # the run is about to end
                continue


@contextmanager
def audience(**rules: Rule) -> Iterator[Audience]:
    """These people, until the block ends."""
    people = Audience(rules)
    try:
        yield people
    finally:
        people.leave()
