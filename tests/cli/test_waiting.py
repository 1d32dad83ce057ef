"""A run whose guard asks people: it begins, waits with their file or page, and goes on from what they said there."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from cli.conftest import Command
from cli.test_label import asking, labelling


@pytest.mark.usefixtures("bare")
def test_it_waits_and_the_same_command_goes_on_from_what_people_said(tmp_path: Path, truing: Command) -> None:
    own = {"rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}]}
    guard = {"mode": "rollback", "labels": 8, "look_every": 1}
    recipe = tiny.recipe_file(tmp_path, stages=["ppo"], guard=guard, **own)
    asked = []
    for look in (1, 2):
        said = truing("run", recipe, "--out", tmp_path / "run")
        assert said.code == 75
        assert f"ppo/guard-look-{look:03d}.jsonl: " in said.err
        file = tmp_path / "run" / "ppo" / f"guard-look-{look:03d}.jsonl"
        rows = [json.loads(line) | {"better": "first"} for line in file.read_text().splitlines()]
        rows[0]["better"] = "skip"
        asked += rows
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert truing("run", recipe, "--out", tmp_path / "run").code == 0
    result = json.loads((tmp_path / "run" / "ppo" / "result.json").read_text())
    assert (result["guard_looks"], result["guard_labels"]) == (2, len(asked) - 2)
    judged = [json.loads(line) for line in (tmp_path / "run" / "ppo" / "judgements.jsonl").read_text().splitlines()]
    assert [one["id"] for one in judged] == [one["id"] for one in asked]


ON_A_PAGE = {"mode": "rollback", "labels": 8, "look_every": 1, "judge": {"kind": "people"}}


def _recipe(place: Path, **page: Any) -> Path:
    own = {"rewards.sources": [{"kind": "function", "path": "letters:letter_a", "normalise": False}]}
    judge = {"kind": "people", "page": page}
    return tiny.recipe_file(place, stages=["ppo"], guard=ON_A_PAGE | {"judge": judge}, **own)


def test_on_a_page_it_says_before_it_begins_that_it_will_ask_and_afterwards_how_to_go_on(
    tmp_path: Path, truing: Command
) -> None:
    recipe, run = _recipe(tmp_path), tmp_path / "run"
    will_ask = "ppo: people will be asked for up to 8 judgements, 4 at a look, of which there are 2"
    assert will_ask in truing("validate", recipe).out
    votes = 0
    for look in (1, 2):
        said = truing("run", recipe, "--out", run)
        assert (said.code, will_ask in said.out) == (75, True)
        assert f"judgements of ppo, look {look} are waited for. Have people judge" in said.err
        assert f"`truing label {run}`" in said.err
        with labelling(run, "--person", "Anna") as links:
            anna = asking(links["Anna"])
            while (item := anna.get("/api/next")["item"]) is not None:
                anna.post("/api/vote", assignment=item["assignment"], kind="vote", value=1)
                votes += 1
    assert truing("run", recipe, "--out", run).code == 0
    result = json.loads((run / "ppo" / "result.json").read_text())
    assert (result["guard_judge"], result["guard_labels"], result["guard_votes"]) == ("people", votes, votes)
    assert f"took {votes} judgements by people, in {votes} votes, at 2 looks" in (run / "report.html").read_text()
    said = truing("label", run, "--person", "Anna", "--url", "nowhere")  # the run's answers now, not its guard's
    assert "waits for judgements" not in said.out
    kept_beginning = result["guard_kept_step"] == 0  # whose answers there is no earlier one to hold against
    assert said.spots[0][0] == ("run/one-evaluation" if kept_beginning else "input/bad-url")


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize(
    ("page", "code"),
    [
        ({"guidelines": "nowhere.md"}, "data/no-guidelines"),
        ({"controls": "nowhere.jsonl"}, "data/no-such-file"),
        ({"controls": "rows.jsonl"}, "data/missing-field"),
    ],
)
def test_what_a_page_cannot_show_is_told_before_anything_is_learnt(
    command: str, page: dict[str, Any], code: str, tmp_path: Path, truing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}])
    said = truing(command, _recipe(tmp_path, **page), *(("--out", tmp_path / "run") if command == "run" else ()))
    assert (said.code, said.spots[0][0]) == (2, code)
    assert not (tmp_path / "run").exists()


def test_without_the_web_server_a_run_that_asks_on_a_page_is_refused(
    tmp_path: Path, truing: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for command in ("validate", "run"):
        said = truing(command, _recipe(tmp_path), *(("--out", tmp_path / "run") if command == "run" else ()))
        assert (said.code, said.spots) == (2, [("input/no-web-server", None, "guard.judge.page")])
    assert not (tmp_path / "run").exists()
