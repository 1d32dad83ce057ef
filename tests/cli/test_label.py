"""truing label, as a person starts it."""

import json
import math
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tiny
import uvicorn
from cli.conftest import Command
from forked import Starter, anew, forked
from labelling.collecting import Asking, a_vote, person

from truing.labelling.collection import Wanted, begin, items_to_ask
from truing.labelling.places import put_items

PAIRS = [{"prompt": f"{number}?", "answers": ["a", "b"]} for number in range(3)]


@contextmanager
def labelling(*arguments: object, told: list[str] | None = None, start: Starter = forked) -> Iterator[dict[str, str]]:
    """`truing label` in a process: its links by name, and its other lines; ended as by Ctrl-C."""
    with TemporaryDirectory() as place:
        said = Path(place) / "said"
        said.touch()
        process = start(["label", *map(str, arguments), "--port", "0"], said, Path(place) / "told")
        while "Ctrl-C" not in (begun := said.read_text(encoding="utf-8")):
            assert process.poll() is None, begun
            time.sleep(0.02)
        links = {}
        for line in begun.splitlines():
            if found := re.fullmatch(r"(.*): (http\S+)", line):
                links[found[1]] = found[2]
            elif told is not None and "Ctrl-C" not in line:
                told.append(line)
        try:
            yield links
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert "every vote is kept" in said.read_text(encoding="utf-8").removeprefix(begun)


def asking(link: str) -> Asking:
    url, _, token = link.partition("/?t=")
    found = Asking(url)
    found.enter(token)
    return found


def test_a_file_is_labelled_exported_and_learnt_from_and_a_person_forgotten(tmp_path: Path, truing: Command) -> None:
    rows, out, votes = (tmp_path / f"{name}.jsonl" for name in ("rows", "out", "votes"))
    tiny.write_rows(rows, PAIRS)
    with labelling(rows, "--person", "Anna", "--lead", "Chris", start=anew) as links:
        assert [*links] == ["Anna", "Chris"]
        anna = asking(links["Anna"])
        assignment = anna.get("/api/next")["item"]["assignment"]
        anna.post("/api/vote", assignment=assignment, kind="vote", value=1)
    assert "1 rows" in (said := truing("label", rows, "--export", out, "--export-votes", votes)).out, said
    (row,) = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    assert (row["margin"], {row["chosen"], row["rejected"]}) == (3.0, {"a", "b"})
    (vote,) = map(json.loads, votes.read_text(encoding="utf-8").splitlines())
    assert (vote["person"], vote["kind"]) == ("Anna", "vote")
    with labelling(rows) as links:  # links that were given stay good
        assert links == {}
    assert truing("label", rows, "--revoke", "Anna").code == 0
    assert "1 votes" in truing("label", rows, "--forget", "Anna").out
    said = truing("label", rows, "--forget", "Anna")
    assert (said.code, said.spots[0][0]) == (2, "input/unknown-person")


@pytest.mark.usefixtures("bare")
def test_an_export_trains_a_reward_model_with_no_further_step(tmp_path: Path, truing: Command) -> None:
    recipe = tiny.recipe_file(tmp_path, stages=["sft", "reward"])
    preferred = {row["prompt"]: row["chosen"] for row in tiny.preferences()}
    store = begin(tmp_path / "preferences.labels.db", "pairs")
    put_items(store.database, items_to_ask(Wanted(tmp_path / "preferences.jsonl"), "pairs"), 1)
    anna = person(store, "Anna")
    given = store.next(anna)
    while given is not None:
        value = 2 if given.answers[0] == preferred[given.prompt] else 6
        given = store.vote(anna, a_vote(given.assignment, value))
    out = tmp_path / "labels.jsonl"
    assert truing("label", tmp_path / "preferences.jsonl", "--export", out).code == 0
    said = truing("run", recipe, "--out", tmp_path / "run", "--set", f"data.preferences.path={out}")
    assert said.code == 0, said
    assert json.loads((tmp_path / "run" / "reward" / "result.json").read_text(encoding="utf-8"))["heldout_pairs"] > 0


@pytest.mark.usefixtures("bare")
def test_what_people_disagree_on_is_learnt_with_less_certainty(tmp_path: Path, truing: Command) -> None:
    recipe = tiny.recipe_file(tmp_path, stages=["sft", "reward"])
    preferred = {row["prompt"]: row["chosen"] for row in tiny.preferences()}
    store = begin(tmp_path / "preferences.labels.db", "pairs")
    put_items(store.database, items_to_ask(Wanted(tmp_path / "preferences.jsonl"), "pairs"), 3)
    for name, prefers in (("Anna", 2), ("Ben", 2), ("Cleo", 5)):
        who = person(store, name)
        given = store.next(who)
        while given is not None:
            value = prefers if given.answers[0] == preferred[given.prompt] else 8 - prefers
            given = store.vote(who, a_vote(given.assignment, value))
    out = tmp_path / "labels.jsonl"
    assert truing("label", tmp_path / "preferences.jsonl", "--export", out).code == 0
    assert {json.loads(line)["share"] for line in out.read_text(encoding="utf-8").splitlines()} == {2 / 3}
    gaps = []
    for use in ("false", "true"):
        run = tmp_path / f"run-{use}"
        changes = (
            "--set",
            f"data.preferences.path={out}",
            "--set",
            f"reward.use_share={use}",
            "--set",
            "reward.epochs=20",
        )
        assert (said := truing("run", recipe, "--out", run, *changes)).code == 0, said
        gaps.append(json.loads((run / "reward" / "result.json").read_text(encoding="utf-8"))["score_gap_mean"])
        assert ("`share` changes nothing in reward" in said.out + said.err) == (use == "false")
    assert gaps[0] > 2 * gaps[1]
    assert gaps[1] == pytest.approx(math.log(2), rel=0.5)  # of two to one, the odds are log 2


def test_models_that_are_asked_are_asked_once(tmp_path: Path, truing: Command) -> None:
    model = tiny.recipe(tmp_path, stages=["sft"]).base.path
    prompts = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"{letter}?"} for letter in "abcd"])
    asked = prompts, "--ask", model, "--tokens", "5", "--seed", "1"
    seen = []
    for _ in range(2):
        with labelling(*asked, "--person", "Anna") as links:
            seen.append(asking(links["Anna"]).get("/api/next"))
    assert seen[0] == seen[1]
    kept = [json.loads(line) for line in (tmp_path / "prompts.labels.answers.jsonl").read_text().splitlines()]
    assert {tuple(row["sources"]) for row in kept} == {(f"{model}, draw 1", f"{model}, draw 2")}
    said = truing("label", prompts, "--ask", model, "--seed", "2")
    assert (said.code, said.spots[0][0]) == (2, "input/other-answers")


def test_an_export_of_another_program_is_converted(tmp_path: Path, truing: Command) -> None:
    selected = {"type": "pairwise", "from_name": "c", "to_name": "answer1,answer2", "value": {"selected": "left"}}
    data = {"prompt": "a?", "answer1": "b", "answer2": "c"}
    file = tmp_path / "export.json"
    file.write_text(
        json.dumps([{"data": data, "annotations": [{"result": [selected]}]}, {"data": data, "annotations": []}])
    )
    said = truing("label", file, "--convert", tmp_path / "rows.jsonl")
    assert said.code == 0
    assert "1 rows to learn from" in said.out
    assert "1 records gave none" in said.out
    assert json.loads((tmp_path / "rows.jsonl").read_text())["chosen"] == "b"


def test_what_a_later_command_leaves_out_stays_as_begun_or_is_told(tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", PAIRS)
    known = tiny.write_rows(tmp_path / "known.jsonl", [{"prompt": "1 + 1", "chosen": "2", "rejected": "3"}])
    for more, items, is_told in ((["--each", "2", "--controls", known], 4, False), ([], 3, True), ([], 3, False)):
        told: list[str] = []
        with labelling(rows, *more, told=told) as links:
            assert asking(links["you"]).get("/api/next")["progress"]["total"] == 2 * items
        assert told[0].startswith(f"{items} items, 2 judgements of each")
        assert [line.startswith("1 that were shown before") for line in told[1:]] == [True] * is_told


def test_who_starts_it_alone_labels_and_leads(tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", PAIRS)
    for _ in range(2):
        with labelling(rows) as links:
            assert asking(links["you"]).send("GET", "/lead")[0] == 200


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--host", "0.0.0.0"], "input/open-host"),
        (["--url", "example"], "input/bad-url"),
        (["--guidelines", "nowhere.md"], "data/no-guidelines"),
        (["--export", "out.jsonl"], "input/no-labels-yet"),
        (["--forget", "Anna"], "input/no-labels-yet"),
        (["--labels", "."], "input/no-labels"),
        (["--tokens", "3"], "input/nobody-asked"),
        (["--ask", "a", "--ask", "b", "--ask", "c"], "input/too-many-models"),
        (["--ask", "./nowhere"], "model/no-such-path"),
        (["--convert", "out.jsonl"], "data/no-export"),
        (["--convert", "rows.jsonl"], "input/written-over"),
        (["--export", "./rows.jsonl"], "input/written-over"),
        (["--export", "rows.labels.db"], "input/written-over"),
        (["--export-votes", "kept.db", "--labels", "kept.db"], "input/written-over"),
        (["--export", "out.jsonl", "--export-votes", "out.jsonl"], "input/written-over"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    tmp_path: Path, truing: Command, more: list[str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = tiny.write_rows(tmp_path / "rows.jsonl", PAIRS)
    said = truing("label", rows, *more)
    assert (said.code, said.spots[0][0]) == (2, code)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_asked_to_end_while_it_begins_it_ends(tmp_path: Path, truing: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the server has a handler of its own for the signal."""
    begun = []

    def run(server: uvicorn.Server, **_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        begun.append(server)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    before = signal.getsignal(signal.SIGINT)
    said = truing("label", tiny.write_rows(tmp_path / "rows.jsonl", PAIRS), "--port", 0)
    assert (said.code, [server.should_exit for server in begun]) == (0, [True])
    assert "Ended; every vote is kept." in said.out
    assert signal.getsignal(signal.SIGINT) is before


def test_without_the_web_server_it_says_what_to_install(
    tmp_path: Path, truing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl", PAIRS)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "truing.labelling.serving", raising=False)
    said = truing("label", rows)
    assert (said.code, said.spots[0][0]) == (2, "input/no-web-server")
    assert "truing[label]" in said.err
