"""Which items come first, and what names them."""

from collections import Counter
from itertools import pairwise

import pytest
from labelling.collecting import pair, pairs

from truing.core.records import Message
from truing.labelling.items import Item, in_order, spread, swaps_of


def test_those_that_teach_most_come_first_and_a_random_share_lies_evenly_between() -> None:
    items = [pair(number, teaches=float(number % 50)) for number in range(100)]
    ordered = in_order(items, 0.2, seed=3)
    assert Counter(item.key for item in ordered) == Counter(item.key for item in items)
    chosen = [item.teaches for item in ordered if item.kind == "chosen"]
    assert chosen == sorted(chosen, key=lambda teaches: -(teaches or 0.0))
    places = [place for place, item in enumerate(ordered) if item.kind == "random"]
    assert len(places) == 20
    assert max(after - before for before, after in pairwise(places)) <= 6
    drawn = [item.teaches or 0.0 for item in ordered if item.kind == "random"]
    assert 15 < sum(drawn) / 20 < 34  # of all, the mean is 24.5; of the mean of 20, the deviation is 3.2
    assert in_order(items, 0.2, seed=3) == ordered
    assert in_order(items, 0.2, seed=4) != ordered


def test_what_was_drawn_at_random_stays_so_when_there_are_more_or_more_are_drawn() -> None:
    def drawn(count: int, share: float) -> set[str]:
        return {item.key for item in in_order(pairs(count), share, seed=3) if item.kind == "random"}

    first = {pair(number).key for number in range(40)}
    assert drawn(40, 0.2) < drawn(40, 0.5)
    assert drawn(200, 0.2) & first <= drawn(40, 0.5), "by an item's own number, not by its place in the file"
    assert len(drawn(40, 0.2)) == 8


def test_where_nothing_is_known_the_order_is_that_of_the_file() -> None:
    ordered = in_order(pairs(10), 0.0, seed=0)
    assert [item.prompt for item in ordered] == [f"prompt {number}" for number in range(10)]
    assert {item.kind for item in in_order(pairs(10), 1.0, seed=0)} == {"random"}


def test_what_teaches_nobody_knows_comes_last() -> None:
    ordered = in_order([pair(0), pair(1, teaches=-3.0), pair(2, teaches=-1.0)], 0.0, seed=0)
    assert [item.prompt for item in ordered] == ["prompt 2", "prompt 1", "prompt 0"]


def test_items_lie_evenly_between_others() -> None:
    letters = [Item(letter, ("a", "b"), ("", "")) for letter in "ABCD"]
    assert [item.prompt for item in spread(letters, [pair(0), pair(1)])] == ["A", "prompt 0", "B", "C", "prompt 1", "D"]
    assert spread(letters, []) == letters


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_is_shown_again(share: float) -> None:
    items = pairs(200)
    again = swaps_of(items, share, 0)
    assert abs(len(again) - 200 * share) <= 25  # four deviations
    assert {item.swap_of for item in again} <= {item.key for item in items}
    assert not {item.key for item in again} & {item.key for item in items}


def test_an_item_is_named_by_what_is_asked() -> None:
    """Not by why it is asked or who wrote it, so that it stays the same item when a run says more of it."""
    turns = (Message("user", "prompt 1"),)
    one = pair(1)
    assert one.key == pair(1, kind="random", teaches=2.0).key
    others = [Item(turns, one.answers, one.sources), Item(one.prompt, one.answers[::-1], one.sources), pair(1, known=1)]
    assert len({one.key, *(other.key for other in others)}) == 4
