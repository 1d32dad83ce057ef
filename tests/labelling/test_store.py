"""Who is given what, and what becomes of what they said."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from labelling.collecting import a_vote, ask_all, for_first, pair, pairs, person, single, store_of

from truing.core.errors import InputError
from truing.labelling import store as store_module
from truing.labelling.collection import begin
from truing.labelling.items import swaps_of
from truing.labelling.people import forget, new_link, revoke, who
from truing.labelling.places import put_items, withdraw
from truing.labelling.store import LEFT_ALONE, PageError, Store

VOTER = """
import sys
from pathlib import Path
from truing.labelling.collection import begin
from truing.labelling.store import Vote

store, number = begin(Path(sys.argv[1]), None), int(sys.argv[2])
while (given := store.next(1)) is not None:
    store.vote(1, Vote(f"vote {number}", given.assignment, "vote", 1 + number % 7))
    print(number, flush=True)
    number += 1
"""


def test_no_acknowledged_vote_is_lost_or_doubled_by_kills_at_random_moments(tmp_path: Path) -> None:
    """A voter that is killed sends what was not acknowledged again, as the page does."""
    store = store_of(tmp_path, pairs(4000))
    person(store, "Anna")
    acknowledged: list[int] = []
    draws = random.Random(5)
    for _ in range(5):
        begun = acknowledged[-1] + 1 if acknowledged else 0
        command = [sys.executable, "-c", VOTER, str(tmp_path / "labels.db"), str(begun)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as voter:
            assert voter.stdout is not None
            acknowledged.append(int(voter.stdout.readline()))  # it has begun
            time.sleep(draws.uniform(0.0, 0.2))
            voter.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in voter.stdout if line.endswith("\n")]
    kept = ask_all(store, "SELECT client, assignment FROM votes")
    assert acknowledged == list(range(len(acknowledged)))
    assert len(acknowledged) > 5
    clients = Counter(row["client"] for row in kept)
    assert {f"vote {number}" for number in acknowledged} <= set(clients)
    assert set(clients.values()) == {1}
    assert len(kept) - len(acknowledged) <= 1  # the last kill may have come between the vote and the word of it
    assert set(Counter(row["assignment"] for row in kept).values()) == {1}
    assert ask_all(store, "PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.parametrize("each", [1, 3])
def test_no_two_get_what_is_for_one_and_none_gets_anything_twice(tmp_path: Path, each: int) -> None:
    """Eight people at once, through four connections."""
    store = store_of(tmp_path, pairs(30), each)
    people = [person(store, f"person {number}") for number in range(8)]
    others = [store, *(begin(tmp_path / "labels.db", None) for _ in range(3))]
    faults: list[BaseException] = []

    def work(through: Store, who: int) -> None:
        try:
            while (given := through.next(who)) is not None:
                through.vote(who, a_vote(given.assignment, 1))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(others[one % 4], one)) for one in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    given = ask_all(store, "SELECT item, person FROM assignments")
    assert Counter(row["item"] for row in given) == dict.fromkeys(range(1, 31), each)
    assert set(Counter((row["item"], row["person"]) for row in given).values()) == {1}
    assert len(ask_all(store, "SELECT 1 FROM standing")) == 30 * each


def test_what_is_before_a_person_stays_until_it_is_judged_wherever_they_go_on(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(3))
    anna, ben = person(store, "Anna"), person(store, "Ben")
    given = store.next(anna)
    again = begin(tmp_path / "labels.db", None)
    assert again.next(anna) == given
    other = again.next(ben)
    assert given is not None
    assert other is not None
    assert other.prompt != given.prompt


def test_a_vote_is_kept_as_the_first_answer_stands_whatever_side_it_was_shown_on(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(40))
    anna = person(store, "Anna")
    lefts = []
    while (given := store.next(anna)) is not None:
        lefts.append(given.answers[0].startswith("first"))
        store.vote(anna, a_vote(given.assignment, 1 if lefts[-1] else 7))  # the first is much better
    assert {row["value"] for row in ask_all(store, "SELECT value FROM standing")} == {1}
    assert 5 < sum(lefts) < 35  # of 40 fair draws, but for one time in 10 million


def test_a_vote_sent_twice_is_one_and_another_on_the_same_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(2))
    anna = person(store, "Anna")
    given = store.next(anna)
    assert given is not None
    vote = a_vote(given.assignment)
    store.vote(anna, vote)
    store.vote(anna, vote)
    assert len(ask_all(store, "SELECT 1 FROM votes")) == 1
    with pytest.raises(PageError, match="already"):
        store.vote(anna, a_vote(given.assignment, 5))


def test_undo_goes_back_step_by_step_and_keeps_what_was_said(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(3))
    anna = person(store, "Anna")
    shown = []
    for _ in range(2):
        given = store.next(anna)
        assert given is not None
        shown.append(given)
        store.vote(anna, a_vote(given.assignment, for_first(store, given.assignment, 3)))
    store.next(anna)  # the third is before her
    store.undo(anna, "undo 1")
    store.undo(anna, "undo 1")  # sent twice
    back = store.next(anna)
    assert back is not None
    assert (back.assignment, back.is_again) == (shown[1].assignment, True)
    store.undo(anna, "undo 2")
    back = store.next(anna)
    assert back is not None
    assert back.assignment == shown[0].assignment
    with pytest.raises(PageError, match="nothing to take back"):
        store.undo(anna, "undo 3")
    for given in reversed(shown):
        store.vote(anna, a_vote(given.assignment, for_first(store, given.assignment, -1)))
    assert [row["value"] for row in ask_all(store, "SELECT value FROM standing")] == [5, 5]
    kinds = [row["kind"] for row in ask_all(store, "SELECT kind FROM votes ORDER BY id")]
    assert kinds == ["vote", "vote", "undo", "undo", "vote", "vote"]


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(f"20{year}-01-01T00:00:00+00:00" for year in range(60, 20, -1))
    monkeypatch.setattr(store_module, "now", lambda: next(times))
    test_undo_goes_back_step_by_step_and_keeps_what_was_said(tmp_path)


def test_what_one_skips_goes_to_another(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1))
    anna, ben = person(store, "Anna"), person(store, "Ben")
    given = store.next(anna)
    assert given is not None
    assert store.next(ben) is None
    store.vote(anna, a_vote(given.assignment, None, "skip", reason="I cannot tell"))
    assert store.next(anna) is None
    other = store.next(ben)
    assert other is not None
    assert other.prompt == given.prompt


def test_what_was_left_alone_goes_to_who_has_nothing_else_and_a_late_vote_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, pairs(1))
    anna, ben = person(store, "Anna"), person(store, "Ben")
    left = store.next(anna)
    assert left is not None
    assert store.next(ben) is None
    later = time.monotonic() + LEFT_ALONE + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    given = store.next(ben)
    assert given is not None
    assert given.prompt == left.prompt
    store.vote(ben, a_vote(given.assignment))
    assert store.next(anna) is None
    store.vote(anna, a_vote(left.assignment))
    assert len(ask_all(store, "SELECT 1 FROM standing")) == 2


def test_votes_on_what_was_not_given_or_was_withdrawn_are_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(2))
    anna, ben = person(store, "Anna"), person(store, "Ben")
    given = store.next(anna)
    assert given is not None
    for who_asks, assignment in ((ben, given.assignment), (anna, 99)):
        with pytest.raises(PageError) as refused:
            store.vote(who_asks, a_vote(assignment))
        assert refused.value.status == 404
    put_items(store.database, [pair(5)], 1)
    with pytest.raises(PageError, match="withdrawn") as refused:
        store.vote(anna, a_vote(given.assignment))
    assert refused.value.status == 410
    following = store.next(anna)
    assert following is not None
    assert following.prompt == "prompt 5"
    put_items(store.database, pairs(2), 1)  # and back
    store.vote(anna, a_vote(given.assignment))


@pytest.mark.parametrize(
    ("mode", "kind", "value"),
    [
        ("pairs", "vote", 0),
        ("pairs", "vote", 8),
        ("pairs", "vote", None),
        ("pairs", "undo", 1),
        ("rate", "both-bad", None),
        ("rate", "vote", 8),
        ("yes-no", "vote", 2),
    ],
)
def test_a_vote_of_no_such_step_or_kind_is_refused(tmp_path: Path, mode: str, kind: str, value: int | None) -> None:
    store = store_of(tmp_path, [single(1)], mode=mode)  # type: ignore[arg-type]
    anna = person(store, "Anna")
    given = store.next(anna)
    assert given is not None
    with pytest.raises(PageError):
        store.vote(anna, a_vote(given.assignment, value, kind))
    assert ask_all(store, "SELECT 1 FROM votes") == []


def test_a_swap_goes_to_who_has_seen_the_item_the_other_way_round(tmp_path: Path) -> None:
    items = pairs(6)
    store = store_of(tmp_path, [*items, *swaps_of(items, 1.0, 0)])
    anna, ben = person(store, "Anna"), person(store, "Ben")
    seen: dict[str, list[list[str]]] = {}
    while (given := store.next(anna)) is not None:
        seen.setdefault(given.prompt, []).append(given.answers)
        store.vote(anna, a_vote(given.assignment))
    assert len(seen) == 6
    assert all(first == again[::-1] for first, again in seen.values())
    assert store.next(ben) is None


def test_a_lead_settles_and_may_think_again(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1))
    chris = person(store, "Chris", "lead")
    store.settle(chris, "one", 1, 2)
    store.settle(chris, "two", 1, 6)
    store.settle(chris, "two", 1, 6)
    assert [row["value"] for row in ask_all(store, "SELECT value FROM standing WHERE settles")] == [6]
    with pytest.raises(PageError):
        store.settle(chris, "three", 2, 6)
    with pytest.raises(PageError):
        store.settle(chris, "four", 1, 8)
    assert store.next(chris) is not None  # it takes nobody's place


def test_forgetting_a_person_takes_all_of_them_out_of_the_file(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(3))
    anna, ben = person(store, "Annabella"), person(store, "Ben")
    for one in (anna, ben):
        given = store.next(one)
        assert given is not None
        store.vote(one, a_vote(given.assignment, comment=f"a remark of {one}, wordy"))
    assert forget(store.database, "Annabella") == 1
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Annabella" not in kept
    assert f"a remark of {anna}, wordy".encode() not in kept
    assert f"a remark of {ben}, wordy".encode() in kept
    given = store.next(ben)
    assert given is not None  # her place
    with pytest.raises(InputError) as refused:
        forget(store.database, "Annabella")
    assert refused.value.code == "input/unknown-person"


def test_links_are_kept_as_hashes_and_end_when_they_are_revoked(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1))
    first, second = (new_link(store.database, "Anna", "labeller") for _ in range(2))
    assert who(store.database, first) == who(store.database, second) is not None
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert first.encode() not in kept
    revoke(store.database, "Anna")
    assert who(store.database, first) is None
    assert who(store.database, "") is None


def test_a_lead_who_is_named_again_stays_one_and_spaces_make_nobody_else(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(1))
    lead = who(store.database, new_link(store.database, "Chris", "lead"))
    assert lead is not None
    assert who(store.database, new_link(store.database, " Chris ", "labeller")) == lead
    labeller = who(store.database, new_link(store.database, "Anna", "labeller"))
    led = who(store.database, new_link(store.database, "Anna", "lead"))
    assert labeller is not None
    assert (led and led.role, led and led.id) == ("lead", labeller.id)


@pytest.mark.parametrize("name", ["", " ", "a" * 101, "A\x1b[2J", "A\u202eB", "A\udc80"])
def test_a_name_that_cannot_be_shown_is_refused(tmp_path: Path, name: str) -> None:
    store = store_of(tmp_path, pairs(1))
    with pytest.raises(InputError) as refused:
        new_link(store.database, name, "labeller")
    assert refused.value.code == "input/person-name"


def test_a_file_of_another_kind_version_or_mode_is_refused(tmp_path: Path) -> None:
    store_of(tmp_path, pairs(1)).database.close()
    with pytest.raises(InputError) as refused:
        begin(tmp_path / "labels.db", "rate")
    assert refused.value.code == "input/other-mode"
    with sqlite3.connect(tmp_path / "labels.db") as sql:
        sql.execute("PRAGMA user_version = 7")
    sql.close()
    with pytest.raises(InputError) as refused:
        begin(tmp_path / "labels.db", None)
    assert refused.value.code == "input/labels-version"
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n' * 200, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        begin(tmp_path / "rows.jsonl", None)
    assert refused.value.code == "input/no-labels"
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == '{"prompt": "a"}\n' * 200


@pytest.mark.parametrize("version", [0, 1, 7])
def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path, version: int) -> None:
    with sqlite3.connect(tmp_path / "other.db") as sql:
        sql.execute("CREATE TABLE bookmarks (url)")
        sql.execute(f"PRAGMA user_version = {version}")
    sql.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(InputError) as refused:
        begin(tmp_path / "other.db", None)
    assert refused.value.code == "input/no-labels"
    assert (tmp_path / "other.db").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["other.db"]


def test_the_number_of_who_was_forgotten_is_nobody_elses(tmp_path: Path) -> None:
    """Reports that were passed on say 'labeller 2'."""
    store = store_of(tmp_path, pairs(1))
    assert [person(store, name) for name in ("Anna", "Ben")] == [1, 2]
    forget(store.database, "Ben")
    assert person(store, "Cara") == 3


def test_what_was_withdrawn_since_keeps_its_vote_when_somebody_takes_back(tmp_path: Path) -> None:
    """As what a run has decided by: it could not be judged again."""
    store = store_of(tmp_path, pairs(3))
    anna = person(store, "Anna")
    for _ in range(2):
        given = store.next(anna)
        assert given is not None
        store.vote(anna, a_vote(given.assignment, 1))
    withdraw(store.database, 2)
    taken_back = store.undo(anna, str(uuid4()))
    assert taken_back is not None
    assert taken_back.prompt == "prompt 0"
    put_items(store.database, [], 1)
    with pytest.raises(PageError, match="nothing to take back"):
        store.undo(anna, str(uuid4()))
    assert ask_all(store, "SELECT item FROM standing") == [{"item": 2}]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store_of(tmp_path, pairs(1))
    assert {file.stat().st_mode & 0o077 for file in tmp_path.glob("labels.db*")} == {0}


def test_why_an_item_is_shown_is_as_it_was_put_last(tmp_path: Path) -> None:
    """So that figures over those drawn at random are over the ones that are drawn now."""
    store = store_of(tmp_path, [pair(0), pair(1, kind="random")])
    put_items(store.database, [pair(0, kind="random"), pair(1)], 1)
    with store.database.reading() as sql:
        assert [row["kind"] for row in sql.execute("SELECT kind FROM items ORDER BY id")] == ["random", "chosen"]
