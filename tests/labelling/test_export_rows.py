"""What people said becomes rows that a recipe reads."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from labelling.collecting import a_vote, ask_all, for_first, pair, pairs, person, single, store_of

from truing.core.records import Message
from truing.data.datasets import records_of
from truing.labelling.export_rows import every_vote, mean_votes, rows_to_learn_from
from truing.labelling.figures import Share, disputes, progress, shares
from truing.labelling.items import Item, swaps_of
from truing.labelling.store import Store


def judged(store: Store, name: str, *values: int | str) -> int:
    """A person gives these in order, as the first answer stands on the left; words are kinds. Returns who."""
    who = person(store, name)
    for value in values:
        given = store.next(who)
        assert given is not None
        (row,) = ask_all(store, f"SELECT flipped FROM assignments WHERE id = {given.assignment}")
        if isinstance(value, str):
            store.vote(who, a_vote(given.assignment, None, value))
        else:
            store.vote(who, a_vote(given.assignment, 8 - value if row["flipped"] else value, seconds=3.0))
    return who


def test_pairs_of_several_people(tmp_path: Path) -> None:
    items = [pair(number) for number in range(6)]
    store = store_of(tmp_path, items, each=3)
    judged(store, "Anna", 1, 6, 4, 1, "skip", "both-bad")
    judged(store, "Ben", 2, 7, 4, 7, 3, "both-bad")
    judged(store, "Cleo", 5, 4, 4, 4, "both-bad", 5)
    rows = rows_to_learn_from(store.database, "pairs")
    assert rows == [
        # means 8/3 and 17/3 of 1 to 7 lie 4/3 and 5/3 from 4; alike, and one against one, teach nothing
        {**sides(0), "margin": pytest.approx(4 / 3), "share": pytest.approx(2 / 3), "votes": 3},
        {**sides(1, second=True), "margin": pytest.approx(5 / 3), "share": 1.0, "votes": 3},
        {**sides(4), "margin": 1.0, "share": 1.0, "votes": 1},
        {**sides(5, second=True), "margin": 1.0, "share": 1.0, "votes": 1},
    ]
    file = tiny.write_rows(tmp_path / "out.jsonl", rows)
    records = records_of(file, "preferences", transcripts=False)
    assert [(one.prompt, one.chosen, one.rejected, one.margin) for one in records] == [
        (row["prompt"], row["chosen"], row["rejected"], row["margin"]) for row in rows
    ]


@pytest.mark.parametrize("answer", ["", " \n", "a\0", "\ud800"])
def test_an_answer_that_no_row_may_have_is_judged_and_not_exported(tmp_path: Path, answer: str) -> None:
    """A policy that has nothing to say is shown, and a recipe still takes what is exported."""
    store = store_of(tmp_path, [Item("Why?", ("So.", answer), ("start", "policy")), pair(1)])
    judged(store, "Anna", 1, 1)
    rows = rows_to_learn_from(store.database, "pairs")
    assert [row["prompt"] for row in rows] == ["prompt 1"]
    assert len(records_of(tiny.write_rows(tmp_path / "out.jsonl", rows), "preferences", transcripts=False)) == 1


def sides(number: int, second: bool = False) -> dict[str, str]:
    first, other = f"first {number}", f"second {number}"
    chosen, rejected = (other, first) if second else (first, other)
    return {"prompt": f"prompt {number}", "chosen": chosen, "rejected": rejected}


def test_the_lead_decides_what_is_in_dispute(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(0)], each=2)
    judged(store, "Anna", 1)
    judged(store, "Ben", 7)
    assert rows_to_learn_from(store.database, "pairs") == []
    (found,) = disputes(store.database, "pairs")
    assert (found.id, found.said, found.settled) == (1, ["Anna: 1", "Ben: 7"], None)
    store.settle(person(store, "Chris", "lead"), "s", 1, 6)
    (row,) = rows_to_learn_from(store.database, "pairs")
    assert row == {**sides(0, second=True), "margin": 2.0, "share": 1.0, "votes": 1}
    (found,) = disputes(store.database, "pairs")
    assert (found.said[-1], found.settled) == ("Chris settled it: 6", 6)


def test_conversations_stay_conversations(tmp_path: Path) -> None:
    turns = (Message("system", "Be short."), Message("user", "Who?"))
    item = Item(turns, ("I.", (Message("assistant", "You."),)), ("a", "b"))
    store = store_of(tmp_path, [item])
    judged(store, "Anna", 7)
    (row,) = rows_to_learn_from(store.database, "pairs")
    assert row["chosen"] == [{"role": "assistant", "content": "You."}]
    assert row["rejected"] == [{"role": "assistant", "content": "I."}]
    (record,) = records_of(tiny.write_rows(tmp_path / "out.jsonl", [row]), "preferences", transcripts=False)
    assert (record.prompt, record.chosen) == (turns, (Message("assistant", "You."),))


@pytest.mark.parametrize(
    ("mode", "votes", "expected"),
    [
        (
            "rate",
            [(2, 3), (7, 6), (4, 4)],
            [{"label": False, "rating": 2.5, "votes": 2}, {"label": True, "rating": 6.5, "votes": 2}],
        ),
        (
            "yes-no",
            [(1, 1), (0, 0), (0, 1)],
            [{"label": True, "share": 1.0, "votes": 2}, {"label": False, "share": 1.0, "votes": 2}],
        ),
    ],
)
def test_answers_alone_are_what_kto_learns_from(
    tmp_path: Path, mode: Any, votes: list[tuple[int, int]], expected: list[dict[str, Any]]
) -> None:
    store = store_of(tmp_path, [single(number) for number in range(3)], each=2, mode=mode)
    judged(store, "Anna", *(first for first, _ in votes))
    judged(store, "Ben", *(second for _, second in votes))
    rows = rows_to_learn_from(store.database, mode)
    texts = [{"prompt": f"prompt {number}", "completion": f"answer {number}"} for number in range(2)]
    assert rows == [text | told for text, told in zip(texts, expected, strict=True)]
    records = records_of(tiny.write_rows(tmp_path / "out.jsonl", rows), "ratings", transcripts=False)
    assert [one.label for one in records] == [row["label"] for row in rows]


def test_controls_and_swaps_are_not_learnt_from(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(0), pair(1, kind="control", known=7), *swaps_of([pair(0)], 1.0, 0)])
    judged(store, "Anna", 2, 6, 2)
    assert [row["prompt"] for row in rows_to_learn_from(store.database, "pairs")] == ["prompt 0"]
    assert shares(store.database) == [Share("Anna", "labeller", judged=3, skipped=0, flagged=0)]


def test_what_is_shown_again_is_no_dispute_of_its_own_and_a_flag_on_it_is_on_the_item(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(0), *swaps_of([pair(0)], 1.0, 0)], each=2)
    judged(store, "Anna", 2, 2)
    ben = judged(store, "Ben", 1, 6)
    assert disputes(store.database, "pairs") == [], "they agreed on the item, and differ on what is not learnt from"
    store.undo(ben, "undo")
    given = store.next(ben)
    assert given is not None
    store.vote(ben, a_vote(given.assignment, for_first(store, given.assignment, -2), flagged=True))
    (found,) = disputes(store.database, "pairs")
    assert (found.id, found.agreeing) == (1, (1, 1))
    assert found.said == ["Anna: 2", "Ben: 1", "Ben, shown again: 6, flagged"]


def test_what_each_did_is_counted(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(number) for number in range(4)])
    anna = judged(store, "Anna", 2, "skip", "both-bad")
    given = store.next(anna)
    assert given is not None
    store.vote(anna, a_vote(given.assignment, 1, flagged=True))
    store.settle(person(store, "Chris", "lead"), "s", 1, 6)
    assert shares(store.database) == [Share("Anna", "labeller", 3, 1, 1), Share("Chris", "lead", 0, 0, 0)]


def test_every_vote_is_written_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(0), pair(1)])
    anna = judged(store, "Anna", 2)
    store.undo(anna, "undo")
    judged(store, "Anna", 3, "skip")
    rows = list(every_vote(store.database))
    assert [(row["kind"], row["value"]) for row in rows] == [("vote", 2), ("undo", None), ("vote", 3), ("skip", None)]
    assert {row["person"] for row in rows} == {"Anna"}
    assert [row["item"] for row in rows] == [pair(0).key] * 3 + [pair(1).key]
    assert rows[0]["answers"] == ["first 0", "second 0"]
    assert rows[0]["sources"] == ["start", "policy"]
    assert rows[0]["second_on_the_left"] in (True, False)
    assert "content" not in rows[0], "the item is there once"


def test_time_left_is_at_the_persons_pace_shared_between_those_who_judge(tmp_path: Path) -> None:
    store = store_of(tmp_path, [pair(number) for number in range(10)], each=2)
    anna, ben = judged(store, "Anna", 1, 1), judged(store, "Ben", 1)
    told = progress(store.database, anna)
    assert (told.own, told.done, told.total) == (2, 3, 20)
    assert told.seconds_left == 3.0 * 17 / 2
    assert progress(store.database, ben).own == 1


@pytest.mark.parametrize(
    ("mode", "first", "second", "is_one"),
    [("rate", 2, 5, True), ("rate", 2, 4, False), ("yes-no", 0, 1, True), ("yes-no", 1, 1, False)],
)
def test_answers_on_which_people_are_far_apart_are_in_dispute(
    tmp_path: Path, mode: Any, first: int, second: int, is_one: bool
) -> None:
    store = store_of(tmp_path, [single(0)], each=2, mode=mode)
    judged(store, "Anna", first)
    judged(store, "Ben", second)
    assert bool(disputes(store.database, mode)) == is_one


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
