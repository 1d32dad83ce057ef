"""A run asks people: it puts its pairs into a file of labels, serves the page while it waits, and takes their votes."""

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from truing.config.judging import Page
from truing.config.plan import plan
from truing.config.recipe import Recipe
from truing.core.errors import WaitingError
from truing.core.people import Comparison
from truing.labelling.collection import begin, need_web_server, read_guidelines
from truing.labelling.database import Database
from truing.labelling.items import Item, spread
from truing.labelling.people import ALONE, Role, new_link
from truing.labelling.places import put_items
from truing.labelling.sources import controls_of
from truing.labelling.store import Store
from truing.labelling.verdicts import last_vote, still_asked, verdicts
from truing.runs.interruption import Interruption
from truing.runs.progress import Progress, duration

if TYPE_CHECKING:
    from truing.labelling.serving import Served

A_CONTROL_EVERY = 10
"""Pairs for each that a control is shown"""
LOOK_SECONDS = 0.5
"""Between two looks at the votes; a signal is heard as soon"""
UNDO_SECONDS = 10.0
"""After the last vote of a look, in which it can still be taken back"""
QUIET_SECONDS = 60.0
"""Between two lines that say how far it is"""


def guard_labels_of(run: Path) -> Path:
    """Where judgements that the guard of a run asks for are kept: beside it, since they name people."""
    place = Path(os.path.abspath(run))
    return place.with_name(f"{place.name}.guard.labels.db")


def check_pages(recipe: Recipe) -> None:
    """All that can be known of a recipe's pages before anything is learnt.

    Raises:
        InputError: the web server is not installed.
        DataError: guidelines or controls cannot be read.
    """
    for page in _pages(recipe).values():
        need_web_server("guard.judge.page")
        _read(page)


def waiting_guard(run: Path) -> Store | None:
    """What the guard of this run waits for people to judge; None where it waits for nothing."""
    labels = guard_labels_of(run)
    store = begin(labels, "pairs") if run.is_dir() and labels.is_file() else None
    return store if store and still_asked(store.database) else None


@contextmanager
def people_of(
    recipe: Recipe, run: Path, progress: Progress, stop: Interruption, at_terminal: bool
) -> Iterator["PagePeople | None"]:
    """Inside, those who are asked on a page; None where no stage asks any. The page ends with the block.

    Args:
        recipe: of the run.
        run: its directory.
        progress: where links are shown.
        stop: ends the waiting.
        at_terminal: whether somebody sees a link at once; else nobody is waited for where the page has no `url`.

    Raises:
        InputError, DataError: as `check_pages`; or the port is taken where a proxy expects the page.
    """
    check_pages(recipe)
    pages = _pages(recipe)
    waiting = [page for page in pages.values() if page.wait_minutes > 0 and (at_terminal or page.url)]
    served = _listening(waiting[0], progress) if waiting else None
    people = PagePeople(run, pages, progress, stop, served) if pages else None
    try:
        yield people
    finally:
        if people is not None:
            people.close()


@dataclass
class PagePeople:
    """Whoever has a link to the page of a run. See `core.people.People`."""

    run: Path
    pages: Mapping[str, Page]
    """By the stage whose guard asks"""
    progress: Progress
    stop: Interruption
    served: "Served | None"
    """None where nobody is waited for"""
    _store: Store | None = None
    _linked: list[str] = field(default_factory=list)
    """Who was shown a link; no names, which would stand in the run's recipe"""

    def votes(self, stage: str, look: int, asked: Sequence[Comparison]) -> dict[str, list[float]]:
        """See `People`. What was said before a run was interrupted stands.

        Raises:
            WaitingError: it was asked to end, or nobody voted for as long as the recipe says.
            RunError: the file of labels cannot be written.
        """
        page = self.pages[stage]
        guidelines, controls = _read(page)
        items = {one.id: _item(stage, look, one) for one in asked}
        keys = {item.key for item in items.values()}
        count = len(items) // A_CONTROL_EVERY
        own_controls = controls[(look - 1) * count :][:count]  # none that an earlier look has shown
        store = self._store = self._store or begin(guard_labels_of(self.run), "pairs")
        put_items(store.database, spread([*items.values()], own_controls), page.each)
        found = verdicts(store.database, keys)
        if len(found) < len(keys):
            self._show(store, page, guidelines, f"{stage}, look {look}: {_pairs(len(keys))}")
            found = self._waited(store.database, f"{stage}, look {look}", keys, page)
        put_items(store.database, [], page.each)  # what is decided is not shown any more
        return {name: found[item.key] for name, item in items.items()}

    def close(self) -> None:
        """Ends the page."""
        if self.served is not None:
            self.served.close()
        if self._store is not None:
            self._store.database.close()

    def _show(self, store: Store, page: Page, guidelines: str, what: str) -> None:
        """Serves the page, and says where; the link of each person once."""
        if self.served is None:
            return
        self.served.begin(store, guidelines)
        url = self.served.address.url
        self.progress.note(f"{what} for people to judge, at {url}; Ctrl-C ends the run, and the same command goes on")
        for number in range(len(self._linked) + 1, page.people + 1):
            name = ALONE if number == 1 else f"person {number}"
            role: Role = "lead" if number == 1 else "labeller"
            self._linked.append(name)
            self.progress.note(f"{name}: {url}/?t={new_link(store.database, name, role)}")

    def _waited(self, database: Database, what: str, keys: Collection[str], page: Page) -> dict[str, list[float]]:
        """The verdicts once all are there, and can no longer be taken back by who gave the last vote."""
        begun = reported_at = changed_at = time.monotonic()
        newest, reported = last_vote(database), 0
        while True:
            found, now = verdicts(database, keys), time.monotonic()
            if last_vote(database) != newest:
                newest, changed_at = last_vote(database), now
            if len(found) == len(keys) and now - changed_at >= UNDO_SECONDS:
                votes = sum(map(len, found.values()))
                self.progress.note(f"{what}: judged in {duration(now - begun)}, with {votes} votes")
                return found
            is_over = now - changed_at >= 60 * page.wait_minutes and len(found) < len(keys)
            if self.served is None or self.stop.requested or is_over:
                raise self._waiting(len(keys) - len(found), len(keys), what)
            if len(found) != reported and now - reported_at >= QUIET_SECONDS:
                reported, reported_at = len(found), now
                self.progress.note(f"{what}: {reported} of {len(keys)} judged")
            time.sleep(LOOK_SECONDS)

    def _waiting(self, left: int, total: int, what: str) -> WaitingError:
        hint = f"Have people judge, on the page that `truing label {self.run}` shows; then the same command goes on."
        told, where = f"{left} of {total} judgements of {what} are waited for.", str(guard_labels_of(self.run))
        return WaitingError(told, code="guard/waits-for-votes", where=where, hint=hint)


def _pages(recipe: Recipe) -> dict[str, Page]:
    """Of each stage whose guard asks people on one."""
    guards = {stage.name: stage.recipe.guard for stage in plan(recipe) if stage.spec.must_be_scored}
    return {name: one.judge.page for name, one in guards.items() if one.mode != "off" and one.judge.page is not None}


def _read(page: Page) -> tuple[str, list[Item]]:
    """Its guidelines and controls."""
    return read_guidelines(page.guidelines), controls_of(Path(page.controls)) if page.controls else []


def _listening(page: Page, progress: Progress) -> "Served":
    from truing.labelling.serving import Served

    served = Served.at(page.port, page.url)
    if page.url is None and page.port not in (0, served.address.port):
        progress.note(f"port {page.port} is taken, so the page for people will be at {served.address.url}")
    return served


def _item(stage: str, look: int, pair: Comparison) -> Item:
    """Its sources are for who exports the votes; people see none."""
    sources = (f"{stage}, look {look}", f"{stage}, the best before look {look}")
    return Item(
        pair.prompt,
        (pair.first, pair.second),
        sources if pair.newer_is_first else sources[::-1],
        kind="random",
    )


def _pairs(count: int) -> str:
    return "1 pair of answers" if count == 1 else f"{count} pairs of answers"
