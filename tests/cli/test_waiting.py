"""A run whose guard asks people: it begins, waits with their file, and goes on from what they said in it."""

import json
from pathlib import Path

import tiny
from cli.conftest import Command


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
