"""How far people agree, against the worked examples of the paper and the package's other way in; what sways them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from labelling.collecting import a_vote, ask_all, pair, person, single, store_of
from labelling.simulating import said

from truing.core.label_quality import Estimate
from truing.functional import wilson_interval
from truing.labelling import quality
from truing.labelling.items import BY_LEAD, Item, Mode, swaps_of
from truing.labelling.judgements import Judgement, by_item, judgements
from truing.labelling.places import withdraw
from truing.labelling.quality import alpha, label_quality, quality_of

_ = None
FIVE_STEPS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
"""Krippendorff 2011, part C: four observers of twelve units"""
YES_NO = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
"""Part A: two observers of ten units"""


def one(item: int = 0, who: str = "Anna", value: int = 2, **more: Any) -> Judgement:
    usual: dict[str, Any] = {"kind": "chosen", "is_flipped": False, "seconds": 30.0, "known": None, "swap_of": None}
    return Judgement(item=item, person=who, value=value, **(usual | {"words": 60, "longer": 0} | more))


def table(rows: list[list[Any]]) -> list[Judgement]:
    """A row of values a person, a column an item."""
    return [
        one(item, f"person {who}", value)
        for who, row in enumerate(rows)
        for item, value in enumerate(row)
        if value is not None
    ]


@pytest.mark.parametrize(("rows", "mode", "expected"), [(FIVE_STEPS, "pairs", 0.815), (YES_NO, "yes-no", 0.095)])
def test_alpha_is_that_of_the_paper(
    rows: list[list[Any]], mode: Mode, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "FEW_ITEMS", 1)
    found = alpha(by_item(table(rows)).values(), mode)
    assert found.value == pytest.approx(expected, abs=5e-4)
    assert found.count == sum(sum(row[unit] is not None for row in rows) > 1 for unit in range(len(rows[0])))


def test_alpha_of_all_at_random_and_without_each_person() -> None:
    found = said({"Anna": "honest", "Ben": "honest", "Cleo": "careless"}, items=150, each=2, seed=3)
    names = ["Anna", "Ben", "Cleo"]

    def oracle(people: list[str], kinds: tuple[str, ...] = ("chosen", "random")) -> float:
        values = np.full((len(people), 150), np.nan)
        for vote in found:
            if vote.person in people and vote.kind in kinds:
                values[people.index(vote.person), vote.item] = vote.value
        return float(krippendorff.alpha(reliability_data=values, level_of_measurement="ordinal"))

    told = quality_of(found, "pairs")
    assert told.alpha.value == pytest.approx(oracle(names))
    assert told.alpha_random.value == pytest.approx(oracle(names, ("random",)))
    assert told.alpha_random.count == 30
    without = {person.name: person.alpha_without for person in told.people}
    assert without == {name: pytest.approx(oracle([other for other in names if other != name])) for name in names}
    assert told == quality_of(found, "pairs"), "draws are those of the position alone"


def test_the_interval_of_alpha_holds_the_alpha_of_many_items_9_times_of_10() -> None:
    people = dict.fromkeys(("Anna", "Ben", "Cleo"), "honest")
    of_many = alpha(by_item(said(people, 4000, 3, seed=99)).values(), "pairs").value
    assert of_many is not None
    ends = [alpha(by_item(said(people, 60, 3, seed)).values(), "pairs").ci95 or (1, 0) for seed in range(40)]
    assert sum(low <= of_many <= high for low, high in ends) >= 33


def test_too_few_to_tell_and_nothing_to_tell_apart() -> None:
    few = quality_of([one(item, who) for item in range(9) for who in ("Anna", "Ben")], "pairs")
    assert (few.alpha, few.agreement, few.behaviour.left) == (
        Estimate(9),
        Estimate(9),
        Estimate(18, 1.0, few.behaviour.left.ci95),
    )
    assert [person.slope for person in few.people] == [Estimate(9)] * 2
    alike = quality_of([one(item, who) for item in range(30) for who in ("Anna", "Ben")], "pairs")
    assert (alike.alpha, alike.agreement.value) == (Estimate(30), 1.0)
    nothing = quality_of([], "pairs")
    assert (nothing.votes, nothing.people, nothing.alpha) == (0, [], Estimate(0))


def test_agreement_is_over_pairs_of_people() -> None:
    # of three people, 12 items on which two agree with one against them (1 of 3 pairs), 8 on which all do (3 of 3)
    votes = [
        one(item, who, 6 if who == "Cleo" and item < 12 else 2) for item in range(20) for who in ("Anna", "Ben", "Cleo")
    ]
    told = quality_of(votes, "pairs")
    assert told.agreement.value == pytest.approx((12 * 1 + 8 * 3) / 60)
    assert told.agreement.ci95 == wilson_interval(12, 20)
    by_name = {person.name: person.agreement.value for person in told.people}
    assert by_name == {"Anna": (12 * 1 + 8 * 2) / 40, "Ben": (12 * 1 + 8 * 2) / 40, "Cleo": 8 * 2 / 40}


@pytest.mark.parametrize(
    ("mode", "first", "second", "agreeing"),
    [
        ("pairs", 1, 3, True),
        ("pairs", 3, 4, False),
        ("pairs", 4, 4, True),
        ("rate", 2, 3, True),
        ("rate", 2, 4, False),
        ("yes-no", 0, 1, False),
    ],
)
def test_when_two_votes_agree(mode: Mode, first: int, second: int, agreeing: bool) -> None:
    votes = [one(item, who, value) for item in range(10) for who, value in (("Anna", first), ("Ben", second))]
    assert quality_of(votes, mode).agreement.value == float(agreeing)


def test_what_sways_people_is_counted() -> None:
    sides = [one(item, value=2, is_flipped=item < 3) for item in range(10)]  # the first answer, 3 times on the right
    alike = [one(item, value=4) for item in range(10, 20)]
    told = quality_of(sides + alike, "pairs").behaviour
    assert told.left == Estimate(10, 0.7, wilson_interval(7, 10))
    assert told.longer == Estimate(0)
    longer = [one(item, value=6, longer=-1 if item < 9 else 1) for item in range(12)]
    assert quality_of(longer, "pairs").behaviour.longer == Estimate(12, 0.75, wilson_interval(9, 12))
    hasty = [one(item, seconds=4.9 if item < 4 else 5.1) for item in range(10)]  # 60 words at 12 a second are 5 s
    assert quality_of(hasty, "pairs").behaviour.hasty == Estimate(10, 0.4, wilson_interval(4, 10))
    known = [one(item, value=3 if item < 4 else 4, kind="control", known=1) for item in range(6)]
    assert quality_of(known, "pairs").behaviour.controls == Estimate(6, 4 / 6, wilson_interval(4, 6))
    first = [one(item, value=2) for item in range(5)]
    again = [one(100 + item, value=3 if item < 4 else 5, kind="swap", swap_of=item) for item in range(5)]
    assert quality_of(first + again, "pairs").behaviour.swaps == Estimate(5, 0.8, wilson_interval(4, 5))
    assert quality_of(first + again, "pairs").items == 5


def test_quick_votes_beside_slow_ones() -> None:
    # Anna's first ten votes take her 5 s and differ from Ben's, the others 50 s and do not; Ben takes 30 s
    votes = [
        one(
            item,
            who,
            6 if who == "Anna" and item < 10 else 2,
            seconds=(5.0 if item < 10 else 50.0) if who == "Anna" else None,
        )
        for item in range(20)
        for who in ("Anna", "Ben")
    ]
    told = quality_of(votes, "pairs")
    assert (told.quicker.value, told.slower.value) == (0.0, 1.0)


def test_ratings_and_yes_and_no_have_no_sides(tmp_path: Path) -> None:
    for mode, value in (("rate", 7), ("yes-no", 1)):
        told = quality_of([one(item, value=value, longer=1) for item in range(30)], mode)  # type: ignore[arg-type]
        assert (told.behaviour.left, told.behaviour.longer, told.behaviour.hasty.count) == (
            Estimate(0),
            Estimate(0),
            30,
        )


def test_judgements_are_what_stands_and_was_not_withdrawn(tmp_path: Path) -> None:
    turns = replace(pair(3), answers=("a much longer first answer of many words", "short"))
    items: list[Item] = [pair(0), pair(1), pair(2, kind="control", known=7), turns]
    store = store_of(tmp_path, [*items, *swaps_of([pair(0)], 1.0, 0)])
    anna = person(store, "Anna")
    for value in (1, 2, 3, 4, 5):
        given = store.next(anna)
        assert given is not None
        store.vote(anna, a_vote(given.assignment, value, seconds=9.0))
    store.undo(anna, "undo")
    given = store.next(anna)
    assert given is not None
    store.vote(anna, a_vote(given.assignment, 6, seconds=0.5))
    store.settle(person(store, "Chris", "lead"), "s", 2, 7)
    found = judgements(store.database)
    flipped = {row["id"]: bool(row["flipped"]) for row in ask_all(store, "SELECT id, flipped FROM assignments")}
    assert [vote.item for vote in found] == [1, 2, 3, 4, 5]
    assert [8 - vote.value if flipped[vote.item] else vote.value for vote in found] == [1, 2, 3, 4, 6]
    assert [vote.kind for vote in found] == ["chosen", "chosen", "control", "chosen", "swap"]
    assert [(vote.known, vote.swap_of) for vote in found[2::2]] == [(7, None), (None, 1)]
    assert [vote.longer for vote in found] == [-1, -1, -1, 1, -1]  # "first 0" is a character shorter than "second 0"
    assert [vote.words for vote in found] == [6, 6, 6, 11, 6]
    assert found[4].seconds == 9.0, "it was read before it was taken back"
    withdraw(store.database, 1)
    assert [vote.item for vote in judgements(store.database)] == [2, 3, 4], "what shows it again goes with it"
    assert [row["withdrawn"] for row in ask_all(store, "SELECT withdrawn FROM items ORDER BY id")] == [
        BY_LEAD,
        0,
        0,
        0,
        BY_LEAD,
    ]


def test_a_store_of_ratings(tmp_path: Path) -> None:
    store = store_of(tmp_path, [single(number) for number in range(24)], each=2, mode="rate")
    for name in ("Anna", "Ben"):
        who = person(store, name)
        for number in range(24):
            given = store.next(who)
            assert given is not None
            store.vote(who, a_vote(given.assignment, 1 + number % 7))
    told = label_quality(store.database, "rate")
    assert (told.alpha.value, told.votes, told.shared_items) == (1.0, 48, 24)
