"""A lead takes an item out, and back in."""

from pathlib import Path

import pytest
from labelling.collecting import Asking, a_vote, ask_all, pair, pairs, person, served, store_of

from truing.labelling.export_rows import every_vote, rows_to_learn_from
from truing.labelling.figures import disputes, progress
from truing.labelling.items import BY_LEAD, GONE, swaps_of
from truing.labelling.people import Role, new_link
from truing.labelling.places import put_items, withdraw
from truing.labelling.store import PageError, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path, [*pairs(3), *swaps_of([pair(0)], 1.0, 0)], each=2)


def vote_next(store: Store, who: int) -> int | None:
    given = store.next(who)
    if given is None:
        return None
    store.vote(who, a_vote(given.assignment, 1))
    return int(str(given.prompt).split()[1])


def test_nobody_is_given_it_any_more_and_it_is_not_exported(store: Store) -> None:
    anna, ben = person(store, "Anna"), person(store, "Ben")
    assert [vote_next(store, anna) for _ in range(2)] == [0, 1]
    before = rows_to_learn_from(store.database, "pairs")
    withdraw(store.database, 1)
    assert [vote_next(store, anna), vote_next(store, anna)] == [2, None], "the same with its sides changed is gone too"
    assert [vote_next(store, ben) for _ in range(3)] == [1, 2, None]
    assert "prompt 0" not in [row["prompt"] for row in rows_to_learn_from(store.database, "pairs")]
    assert [row["withdrawn"] for row in every_vote(store.database)] == [True, False, False, False, False], "votes stay"
    assert progress(store.database, anna).total == 4
    withdraw(store.database, 1, is_back=True)
    assert before[0] in rows_to_learn_from(store.database, "pairs")
    assert [vote_next(store, ben), vote_next(store, anna)] == [0, 0]


def test_what_a_page_shows_is_refused_once_it_is_withdrawn(store: Store) -> None:
    anna = person(store, "Anna")
    given = store.next(anna)
    assert given is not None
    withdraw(store.database, 1)
    with pytest.raises(PageError, match="withdrawn"):
        store.vote(anna, a_vote(given.assignment, 1))


def test_it_stays_withdrawn_when_the_page_is_started_again(store: Store) -> None:
    withdraw(store.database, 2)
    assert put_items(store.database, pairs(2), 2) == 2
    assert bits(store) == [0, BY_LEAD, GONE, GONE]
    assert put_items(store.database, pairs(1), 2) == 1
    assert bits(store) == [0, BY_LEAD | GONE, GONE, GONE]
    withdraw(store.database, 2, is_back=True)
    assert bits(store) == [0, GONE, GONE, GONE], "its row is still gone"


def bits(store: Store) -> list[int]:
    return [row["withdrawn"] for row in ask_all(store, "SELECT withdrawn FROM items ORDER BY id")]


def test_the_lead_finds_it_again_below_what_is_in_dispute(store: Store) -> None:
    anna, ben = person(store, "Anna"), person(store, "Ben")
    for who in (anna, ben):
        vote_next(store, who)
    vote_next(store, anna)
    given = store.next(ben)
    assert given is not None
    store.vote(ben, a_vote(given.assignment, 1, flagged=True))
    withdraw(store.database, 1)
    found = disputes(store.database, "pairs")
    assert [(one.id, one.is_withdrawn) for one in found] == [(2, False), (1, True)]
    assert found[1].agreeing[1] == 1


@pytest.mark.parametrize(("role", "status"), [("lead", 200), ("labeller", 403)])
def test_only_a_lead_withdraws(store: Store, role: Role, status: int) -> None:
    with served(store) as url:
        asking = Asking(url)
        asking.enter(new_link(store.database, "Chris", role))
        assert asking.post("/api/withdraw", item=1, is_back=False)[0] == status
        assert asking.post("/api/withdraw", item=1, is_back=False)[0] == status, "twice is once"
        assert asking.post("/api/withdraw", item=1, is_back=1)[0] == (422 if role == "lead" else 403)
        assert bits(store)[0] == (BY_LEAD if role == "lead" else 0)
