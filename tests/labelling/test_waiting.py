"""What a run asks on a page that people judge before it waits, and what becomes of a file of labels that refuses."""

from pathlib import Path
from typing import Any

import pytest
from labelling.collecting import a_vote, ask_all, for_first, person

from truing.config.judging import Page
from truing.core.errors import RunError, WaitingError
from truing.guard.contests import Question
from truing.labelling.collection import begin
from truing.labelling.waiting import PagePeople, guard_labels_of, waiting_guard
from truing.runs.interruption import Interruption
from truing.runs.progress import SilentProgress

ASKED = [Question(f"prompt {n}", f"prompt {n}", f"first {n}", f"second {n}", n % 2 == 0) for n in range(4)]


def _people(place: Path, **page: Any) -> PagePeople:
    """Whom nobody waits for."""
    place.mkdir(exist_ok=True)
    return PagePeople(place, {"ppo": Page(**page)}, SilentProgress(), Interruption(), None)


def test_what_is_asked_is_shown_in_its_order_and_what_was_said_of_it_given_back(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(WaitingError, match="4 of 4 judgements of ppo, look 1"):
        _people(run).votes("ppo", 1, ASKED)
    store = waiting_guard(run)
    assert store is not None
    anna = person(store, "Anna")
    for question, steps in zip(ASKED[:3], (3, -1, 0), strict=True):
        given = store.next(anna)
        assert given is not None
        assert (given.prompt, set(given.answers)) == (question.prompt, {question.first, question.second})
        store.vote(anna, a_vote(given.assignment, for_first(store, given.assignment, steps)))
    with pytest.raises(WaitingError, match="1 of 4"):
        _people(run).votes("ppo", 1, ASKED)
    given = store.next(anna)
    assert given is not None
    store.vote(anna, a_vote(given.assignment, None, "skip"))
    assert waiting_guard(run) is None
    said = _people(run).votes("ppo", 1, ASKED)
    assert said == {one.id: votes for one, votes in zip(ASKED, ([1.0], [0.0], [0.5], []), strict=True)}
    assert store.next(anna) is None


def test_who_exports_the_votes_learns_whose_the_answers_are_and_who_judges_does_not(tmp_path: Path) -> None:
    with pytest.raises(WaitingError):
        _people(tmp_path / "run").votes("ppo", 2, ASKED)
    store = waiting_guard(tmp_path / "run")
    assert store is not None
    (content,) = (row["content"] for row in ask_all(store, "SELECT content FROM items WHERE rank = 0"))
    assert '"sources": ["ppo, look 2", "ppo, the best before look 2"]' in content
    assert guard_labels_of(tmp_path / "run").stat().st_mode & 0o077 == 0


def test_a_run_whose_guard_waits_for_nothing_is_none_that_waits(tmp_path: Path) -> None:
    assert waiting_guard(tmp_path / "nowhere") is None
    (tmp_path / "run").mkdir()
    assert waiting_guard(tmp_path / "run") is None


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    people = _people(tmp_path / "run")
    people._store = begin(guard_labels_of(people.run), "pairs")
    ask_all(people._store, "PRAGMA max_page_count = 1")  # as many as there are
    long = [Question("a", "a", "long " * 9000, "other", newer_is_first=True)]
    with pytest.raises(RunError, match=r"run\.guard\.labels\.db: cannot be used for labels: database or disk is full"):
        people.votes("ppo", 1, long)
