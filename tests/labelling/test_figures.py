"""Whether there is anything left to judge."""

from pathlib import Path

from labelling.collecting import a_vote, pairs, person, store_of

from truing.labelling.figures import is_done
from truing.labelling.out import mean_votes


def test_it_is_done_once_each_item_is_judged_or_skipped_by_all(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(2))
    assert not is_done(store.database)  # nobody is there yet
    anna = person(store, "Anna")
    first = store.next(anna)
    assert first is not None
    second = store.vote(anna, a_vote(first.assignment))
    assert second is not None
    assert not is_done(store.database)
    store.vote(anna, a_vote(second.assignment, None, "skip"))
    assert is_done(store.database)  # there is nobody else
    ben = person(store, "Ben")
    assert not is_done(store.database)
    given = store.next(ben)
    assert given is not None
    store.vote(ben, a_vote(given.assignment))
    assert is_done(store.database)
    store.undo(ben, "f" * 36)
    assert not is_done(store.database)


def test_the_mean_vote_of_an_item_is_over_its_people_and_the_leads_alone_where_settled(tmp_path: Path) -> None:
    items = pairs(2)
    store = store_of(tmp_path, items, each=2)
    for name, steps in (("Anna", 1), ("Ben", 3)):
        own = person(store, name)
        while (given := store.next(own)) is not None:
            flipped = given.answers[0].startswith("second")
            store.vote(own, a_vote(given.assignment, 8 - steps if flipped else steps))
    lead = person(store, "Chris", "lead")
    store.settle(lead, "e" * 36, 1, 6)
    assert mean_votes(store.database) == {items[0].key: 6.0, items[1].key: 2.0}
