"""What counts as said of a pair, and when a pair needs nobody any more."""

import random
from pathlib import Path
from statistics import fmean

import pytest
from labelling.collecting import a_vote, ask_all, for_first, pair, pairs, person, store_of

from truing.labelling.people import new_link, revoke
from truing.labelling.places import put_items, withdraw
from truing.labelling.store import Store
from truing.labelling.verdicts import still_asked, verdicts


def _judge(store: Store, who: int, steps: int | None = None, kind: str = "vote") -> None:
    """So many steps for the first answer of what this person is given next."""
    given = store.next(who)
    assert given is not None
    value = None if steps is None else for_first(store, given.assignment, steps)
    store.vote(who, a_vote(given.assignment, value, kind))


def _said(store: Store, number: int = 0) -> list[float] | None:
    return verdicts(store.database, {pair(number).key}).get(pair(number).key)


@pytest.mark.parametrize(
    ("steps", "kind", "share"),
    [
        (3, "vote", 1.0),
        (1, "vote", 1.0),
        (0, "vote", 0.5),
        (-1, "vote", 0.0),
        (-3, "vote", 0.0),
        (None, "both-bad", 0.5),
    ],
)
def test_a_side_counts_by_however_much_and_alike_as_half(
    tmp_path: Path, steps: int | None, kind: str, share: float
) -> None:
    store = store_of(tmp_path, pairs(1))
    anna = person(store, "Anna")
    assert _said(store) is None
    _judge(store, anna, steps, kind)
    assert _said(store) == [share]


def test_a_pair_waits_for_as_many_people_as_are_wanted(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1), each=3)
    people = [person(store, name) for name in ("Anna", "Ben", "Cleo", "Dora")]
    for number, steps in enumerate((2, -1, 1)):
        assert _said(store) is None
        assert still_asked(store.database) == {pair(0).key}
        _judge(store, people[number], steps)
    assert _said(store) == [1.0, 0.0, 1.0]
    assert not still_asked(store.database)


def test_what_one_skips_another_is_given_and_what_all_skip_has_nobodys_word(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1))
    anna, ben = person(store, "Anna"), person(store, "Ben")
    _judge(store, anna, kind="skip")
    assert _said(store) is None
    _judge(store, ben, kind="skip")
    assert _said(store) == []
    person(store, "Cleo")  # who comes later may know
    assert _said(store) is None
    revoke(store.database, "Cleo")
    assert _said(store) == []


def test_of_three_the_words_of_two_count_where_one_skips(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1), each=3)
    people = [person(store, name) for name in ("Anna", "Ben", "Cleo")]
    for who, steps in zip(people, (1, None, -1), strict=True):
        _judge(store, who, steps, "skip" if steps is None else "vote")
    assert _said(store) == [1.0, 0.0]


def test_a_vote_that_is_taken_back_is_none_and_a_lead_who_settles_is_alone(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1), each=2)
    anna, lead = person(store, "Anna"), person(store, "Chris", "lead")
    _judge(store, anna, 3)
    store.undo(anna, "00000000-0000-0000-0000-000000000001")
    assert _said(store) is None
    _judge(store, anna, 3)
    (item,) = ask_all(store, "SELECT id FROM items")
    store.settle(lead, "00000000-0000-0000-0000-000000000002", item["id"], 7)
    assert _said(store) == [0.0]


def test_controls_decide_nothing_and_what_is_withdrawn_is_asked_no_more(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(0), pair(1, kind="control", known=1)])
    assert still_asked(store.database) == {pair(0).key}
    put_items(store.database, [], 1)
    assert (_said(store), still_asked(store.database)) == ([], set())


def test_votes_of_many_people_come_to_the_same_as_counted_by_hand(tmp_path: Path) -> None:
    """Eight people at random, whatever the sides; what each presses is noted where it is pressed."""
    draw, store = random.Random(3), store_of(tmp_path, pairs(30), each=3)
    people = [person(store, f"person {number}") for number in range(8)]
    right: dict[str, list[float]] = {}
    while any(store.next(who) for who in people):
        who = draw.choice(people)
        given = store.next(who)
        if given is None:
            continue
        key, first = draw.randint(1, 7), f"first {str(given.prompt).split()[1]}"
        for_left = {True: 1.0, False: 0.0}[key < 4] if key != 4 else 0.5
        share = for_left if given.answers[0] == first else 1 - for_left
        right.setdefault(str(given.prompt), []).append(share)
        store.vote(who, a_vote(given.assignment, key))
    found = verdicts(store.database, {pair(number).key for number in range(30)})
    assert found == {pair(number).key: right[f"prompt {number}"] for number in range(30)}
    assert {len(votes) for votes in found.values()} == {3}
    assert 0.2 < fmean(share for votes in found.values() for share in votes) < 0.8


def test_a_link_makes_nobody_twice(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1))
    anna = person(store, "Anna")
    new_link(store.database, "Anna", "labeller")
    _judge(store, anna, kind="skip")
    assert _said(store) == []


def test_what_a_lead_withdraws_is_no_judgement_also_once_the_run_asks_again(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(2), each=2)
    anna = person(store, "Anna")
    _judge(store, anna, 2)
    (item,) = ask_all(store, "SELECT id FROM items WHERE rank = 0")
    withdraw(store.database, item["id"])
    put_items(store.database, pairs(2), 2)
    assert (_said(store, 0), _said(store, 1)) == ([], None)
    assert still_asked(store.database) == {pair(1).key}


def test_where_nobody_has_a_link_any_more_a_pair_still_wants_its_votes(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1), each=3)
    _judge(store, person(store, "Anna"), 2)
    revoke(store.database, "Anna")
    assert _said(store) is None
