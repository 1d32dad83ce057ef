"""Sides in turns, their figures, targets, and lengths that are the same for every side."""

import sys
from pathlib import Path

import pytest
import run_all
from docs.test_commands import parse_script
from harness.prompts import even, prompts, ragged
from harness.sides import Measured, Side, alternate, refuse_unequal
from harness.tables import Target, table, targets, tell
from run_all import SIZES, command, verdicts

SCRIPT = """
import json, sys
told = json.loads(sys.argv[1])
with open(told["log"], "a") as log:
    log.write(told["name"] + " ")
outcome = {"seconds": {"a": [told["a"]], "b": [1.0]}, "peak": 7, "facts": {"threads": told["threads"]}}
with open(told["out"], "w") as out:
    json.dump(outcome, out)
"""


def side(place: Path, name: str, seconds: float) -> Side:
    script = place / "side.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return Side(name, Path(sys.executable), script, {"name": name, "a": seconds, "log": str(place / "log")})


def test_sides_take_turns_and_their_runs_are_put_together(tmp_path: Path):
    measured = alternate([side(tmp_path, "x", 2.0), side(tmp_path, "y", 5.0)], 3, tmp_path, threads=1)
    assert (tmp_path / "log").read_text(encoding="utf-8").split() == ["x", "y"] * 3
    assert measured["y"] == Measured({"a": [5.0] * 3, "b": [1.0] * 3}, [7] * 3, {"threads": 1})
    assert measured["y"].total == 6.0


def test_a_side_that_fails_is_told_with_its_last_words(tmp_path: Path):
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no such model')", encoding="utf-8")
    with pytest.raises(RuntimeError, match="no such model"):
        alternate([Side("x", Path(sys.executable), script, {})], 1, tmp_path, threads=1)


def test_the_median_is_of_repetitions_and_not_of_phases():
    measured = Measured({"a": [1.0, 5.0, 3.0], "b": [9.0, 1.0, 2.0]}, [4, 8, 6], {})
    assert measured.total == 6.0  # of 10, 6 and 5
    assert measured.median("a") == 3.0
    assert measured.peak == 6
    assert measured.spread == 2.0


def test_sides_that_did_other_work_are_refused():
    alike = {"x": Measured({}, [], {"tokens": [3]}), "y": Measured({}, [], {"tokens": [3]})}
    refuse_unequal(alike)
    with pytest.raises(RuntimeError, match="not do the same work"):
        refuse_unequal(alike | {"z": Measured({}, [], {"tokens": [4]})})


def test_a_target_is_reached_from_its_own_side():
    assert Target("fast", 2.0, 2.0).reached
    assert not Target("fast", 2.0, 1.9).reached
    assert Target("small", 0.5, 0.4, at_most=True).reached
    assert targets([Target("small", 0.5, 0.6, at_most=True)]).endswith("| small | ≤ 0.5x | 0.60x | **no** |")


def test_a_table_is_markdown():
    assert table(["a", "b"], [["x", 1]]).splitlines() == ["| a | b |", "| --- | ---: |", "| x | 1 |"]


def test_prompts_are_different_and_hold_no_token_with_a_meaning():
    made = prompts(40, 16, 100)
    assert len({tuple(prompt) for prompt in made}) == 40
    assert {len(prompt) for prompt in made} == {16}
    assert min(map(min, made)) >= 8
    assert max(map(max, made)) < 99


def test_ragged_lengths_span_the_range_and_even_ones_have_as_many_tokens():
    lengths = ragged(8, 4, 128)
    assert (min(lengths), max(lengths), len(set(lengths))) == (4, 128, 8)
    assert sum(even(lengths)) == sum(lengths)
    assert max(even(lengths)) - min(even(lengths)) <= 1


def test_a_verdict_is_a_line_with_what_was_wanted_and_measured(capsys: pytest.CaptureFixture[str]):
    tell([Target("fast", 2.0, 2.31), Target("an answer", 50, 61.04, at_most=True, unit=" ms")])
    printed = capsys.readouterr().out
    assert [*verdicts(f"| table |\n{printed}done\n")] == [
        "reached: fast: wanted ≥ 2x, measured 2.31x",
        "missed: an answer: wanted ≤ 50 ms, measured 61.04 ms",
    ]


@pytest.mark.parametrize("name", SIZES)
def test_what_all_are_told_their_scripts_understand(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, script, *arguments = command(name, tmp_path)
    parse_script(Path(script), arguments, monkeypatch)


def test_one_that_fails_is_told_and_the_next_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "run_all").mkdir()
    scripts = {"scale": "raise SystemExit('no model')", "saving": "print('reached: saving: wanted ≤ 3%, measured 1%')"}
    monkeypatch.setattr(run_all, "command", lambda name, _: [sys.executable, "-c", scripts[name]])
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--cache", str(tmp_path), "--only", *scripts])
    assert run_all.main() == 1
    _, failed, told, verdict = capsys.readouterr().out.splitlines()
    assert failed.endswith(f"failed, see {tmp_path / 'run_all' / 'scale.log'}")
    assert told.startswith("saving, ")
    assert verdict == "  reached: saving: wanted ≤ 3%, measured 1%"
    assert (tmp_path / "run_all" / "scale.log").read_text(encoding="utf-8") == "no model\n"
