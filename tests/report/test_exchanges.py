"""Answers before and after as report.json and the page have them."""

import json
from pathlib import Path
from typing import Any

import pytest
from report.example_run import write_json, write_lines, write_run
from report.reading import report

from truing.report.comparison import OTHER_PROMPTS
from truing.report.content import content
from truing.report.exchanges import Response, samples
from truing.report.run_files import read_run
from truing.report.stages import policies


def line(step: int, said: str, tokens: list[str], ratios: list[float], **more: Any) -> dict[str, Any]:
    row = {"step": step, "prompt": "p :", "response": said, "kl": sum(ratios), "length": len(tokens), "finished": True}
    return row | {"judges": {"gold": 0.5}, "score": 0.1 * step, "tokens": tokens, "token_log_ratios": ratios} | more


def shown(root: Path, lines: list[dict[str, Any]], **guard: Any) -> list[Response]:
    """The responses to the one prompt."""
    write_lines(root / "ppo" / "samples.jsonl", lines)
    result = json.loads((root / "ppo" / "result.json").read_text())
    write_json(root / "ppo" / "result.json", result | guard)
    (exchange,) = samples(policies(read_run(root)), ["ppo"]).exchanges
    return exchange.responses


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ("ppo",))


def test_each_token_has_its_characters_and_its_log_ratio_and_the_last_without_text_is_the_end(root: Path) -> None:
    tokens, ratios = [" is", "", "\u00e9", "\u202e!", ""], [0.5, 0.25, -1.0, 0.0, 2.0]
    _, after = shown(root, [line(0, " x", [" x"], [0.0]), line(20, " is\u00e9\u202e!", tokens, ratios)])
    # a hidden character is written out in 8, and what half a character brought is counted with the whole one
    assert after.tokens == [(3, 0.5), (1, -0.75), (9, 0.0), (0, 2.0)]
    assert after.shades == "3 0.50 1 -0.75 9 0.00 0 2.00"


def test_tokens_that_are_not_the_text_are_left_out(root: Path) -> None:
    before, after = shown(root, [line(0, "x", ["x"], [0.0]), line(20, "ab", ["a", "c"], [0.0, 1.0])])
    assert (before.tokens, after.tokens) == ([(1, 0.0)], [])


def test_a_cut_text_has_the_tokens_that_are_shown(root: Path) -> None:
    said = "a" * 5000
    _, after = shown(root, [line(0, "x", ["x"], [0.0]), line(20, said, ["a" * 3000, "a" * 2000], [0.5, 1.0])])
    assert after.tokens == [(3000, 0.5)]


def test_an_episode_is_shown_turn_by_turn_under_the_name_of_who_had_it(root: Path) -> None:
    turns = [("assistant", "4"), ("user", "+"), ("assistant", "6"), ("tool", "no")]
    said = {"turns": [{"role": role, "content": text} for role, text in turns]}
    _, after = shown(root, [line(0, "x", ["x"], [0.0]), line(20, "4+6no", ["4", "+", "6", "no"], [0.0] * 4, **said)])
    assert after.text == "4\nenvironment: +\npolicy: 6\ntool: no"
    assert after.tokens == []


def test_a_judge_that_is_called_score_stands_beside_the_score(root: Path) -> None:
    _, after = shown(root, [line(0, "x", ["x"], [0.0]), line(20, "y", ["y"], [0.0], judges={"score": 7.0})])
    assert after.facts[:2] == ["score 2.00", "score 7.00"]


def test_where_a_guard_chose_the_step_its_answers_are_those_after(root: Path) -> None:
    lines = [line(step, f"at {step}", [f"at {step}"], [0.0]) for step in (0, 10, 20)]
    kept = shown(root, lines, guard_labels=9, guard_looks=2, guard_kept_step=10)
    assert [each.text for each in kept] == ["at 0", "at 10"]


def test_policies_that_were_asked_other_prompts_are_said_not_to_compare(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    assert content(read_run(root)).comparison_note == ""
    rows = [json.loads(line) for line in (root / "ppo-no-kl" / "samples.jsonl").read_text().splitlines()]
    other = [row | {"prompt": "another :"} if row["prompt"] == rows[0]["prompt"] else row for row in rows]
    write_lines(root / "ppo-no-kl" / "samples.jsonl", other)
    assert content(read_run(root)).comparison_note == OTHER_PROMPTS
    assert OTHER_PROMPTS in report(root).text("policy")


def test_report_json_has_the_numbers_that_the_page_shows(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    page = report(root)
    figures = json.loads((root / "report.json").read_text(encoding="utf-8"))
    closing = json.loads((root / "ppo" / "result.json").read_text())
    score = next(one for one in figures["verdicts"][0]["measured"] if one["title"] == "Score")["change"]
    assert score == {name: closing[f"heldout_score_{name}"] for name in score}
    accuracy = figures["sections"][1]["facts"][0]
    assert accuracy["measured"] == [{"name": "heldout_accuracy", "value": 0.686, "ci95": [0.57, 0.783], "count": None}]
    assert page.tables["reward"][accuracy["title"]][0] == f"{accuracy['value']} {accuracy['detail']}"
    for measure in figures["comparison"]:
        cells = [" ".join([cell["value"], *cell["details"]]) for cell in measure["cells"]]
        assert page.tables["policy"][measure["title"]] == cells
    thick = next(chart for chart in figures["outcome"] if chart["heading"] == "KL to the reference")["drawn"][3]
    steps, values = zip(*page.curve("KL to the reference, nats a sequence", 1), strict=True)
    assert steps == pytest.approx(thick["steps"], abs=0.05)
    assert values == pytest.approx(thick["values"], abs=0.1)
    first = figures["samples"]["exchanges"][0]["responses"][1]
    assert first["tokens"] == [[22, 0.5], [0, 0.25]]
    assert {a["data-tokens"] for _, a in page.tags if "data-tokens" in a} == {"14 0.50 0 0.25", "22 0.50 0 0.25"}
    assert str(root) not in json.dumps(figures)
