"""What a file of answers and a run give to judge."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from report.example_run import PROMPTS, write_run

from truing.core.errors import DataError, InputError, RunError
from truing.core.records import Message
from truing.labelling.collection import Wanted, items_to_ask, labels_of
from truing.labelling.sources import controls_of, items_of

TURNS = [{"role": "user", "content": "Who are you?"}]


def rows(place: Path, *values: Any) -> Path:
    return tiny.write_rows(place / "rows.jsonl", values)


def test_a_file_of_answers_gives_pairs(tmp_path: Path) -> None:
    file = rows(
        tmp_path,
        {"prompt": "a?", "answers": ["b", "c"], "sources": ["start", "policy"], "scores": [1.5, -0.5]},
        {"prompt": TURNS, "answers": ["I am.", [{"role": "assistant", "content": "You are."}]]},
        {"prompt": "d?", "chosen": "e", "rejected": "f"},
        {"prompt": "d?", "chosen": "e", "rejected": "f"},
    )
    first, second, third = items_of(file, "pairs")
    assert (first.answers, first.sources, first.teaches) == (("b", "c"), ("start", "policy"), -2.0)
    assert second.prompt == (Message("user", "Who are you?"),)
    assert second.answers == ("I am.", (Message("assistant", "You are."),))
    assert second.sources == ("answers[0]", "answers[1]")
    assert (third.answers, third.sources) == (("e", "f"), ("chosen", "rejected"))


def test_one_by_one_every_answer_is_an_item(tmp_path: Path) -> None:
    file = rows(tmp_path, {"prompt": "a?", "answers": ["b", "c", "d"]}, {"prompt": "e?", "completion": "f"})
    for mode in ("rate", "yes-no"):
        assert [item.answers for item in items_of(file, mode)] == [("b",), ("c",), ("d",), ("f",)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"prompt": "a?", "answers": ["b"]}, "data/not-two-answers", "answers"),
        ({"prompt": "a?", "answers": ["b", "b"]}, "data/equal-answers", "answers"),
        ({"prompt": "a?", "answers": "bc"}, "data/no-answers", "answers"),
        ({"prompt": "a?", "answers": ["b", 3]}, "data/not-text", "answers[1]"),
        ({"prompt": "a?", "answers": ["b", "\ud800"]}, "data/half-surrogate", "answers[1]"),
        ({"prompt": "", "answers": ["b", "c"]}, "data/empty-text", "prompt"),
        ({"answers": ["b", "c"]}, "data/missing-field", "prompt"),
        ({"prompt": "a?"}, "data/missing-answers", "answers"),
        ({"prompt": "a?", "better": "b"}, "data/missing-field", "chosen"),
    ],
)
def test_a_row_that_cannot_be_shown_is_refused(tmp_path: Path, row: Any, code: str, field: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as refused:
        items_of(file, "pairs")
    assert (code, field) in {(problem.code, problem.field) for problem in refused.value.problems}


def test_a_file_of_prompts_alone_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        items_of(tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": f"{number}?"} for number in range(30)]), "pairs")
    (problem,) = refused.value.problems
    assert "--ask" in (problem.hint or "")


def test_a_run_gives_its_policy_against_the_start_prompt_by_prompt(tmp_path: Path) -> None:
    items = items_of(write_run(tmp_path / "run"), "pairs")
    assert [item.prompt for item in items] == PROMPTS
    assert {item.answers for item in items} == {("arrived late .", "is lovely and sturdy .")}
    assert {item.sources for item in items} == {("ppo, step 0", "ppo, step 20")}
    samples = [json.loads(line) for line in (tmp_path / "run" / "ppo" / "samples.jsonl").read_text().splitlines()]
    first, last = ({row["prompt"]: row["score"] for row in samples if row["step"] == step} for step in (0, 20))
    assert [item.teaches for item in items] == [-abs(first[prompt] - last[prompt]) for prompt in PROMPTS]


def test_of_several_reward_models_disagreement_says_what_teaches(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    file = tmp_path / "run" / "ppo" / "samples.jsonl"
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    tiny.write_rows(file, [row | {"member_spread": 0.25} for row in samples])
    assert {item.teaches for item in items_of(tmp_path / "run", "pairs")} == {0.5}


def test_a_run_that_has_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    file = tmp_path / "run" / "ppo" / "samples.jsonl"
    tiny.write_rows(file, [json.loads(line) for line in file.read_text().splitlines()][: len(PROMPTS)])
    with pytest.raises(RunError) as refused:
        items_of(tmp_path / "run", "pairs")
    assert refused.value.code == "run/one-evaluation"
    alike = write_run(tmp_path / "alike", responses=("same .", "same ."))
    with pytest.raises(InputError) as nothing:
        items_to_ask(Wanted(alike), "pairs")
    assert nothing.value.code == "input/no-items"


def test_the_known_side_of_a_control_may_be_either(tmp_path: Path) -> None:
    controls = controls_of(rows(tmp_path, *({"prompt": f"{n}?", "chosen": "y", "rejected": "n"} for n in range(4))))
    assert {(item.answers, item.known) for item in controls} == {(("y", "n"), 1), (("n", "y"), 7)}
    assert {item.kind for item in controls} == {"control"}


def test_controls_lie_between_and_swaps_follow(tmp_path: Path) -> None:
    known = tiny.write_rows(tmp_path / "known.jsonl", [{"prompt": "k?", "chosen": "y", "rejected": "n"}])
    file = rows(tmp_path, *({"prompt": f"{number}?", "answers": ["b", "c"]} for number in range(4)))
    kinds = [item.kind for item in items_to_ask(Wanted(file, random_share=0.0, controls=known, swaps=1.0), "pairs")]
    assert kinds == ["chosen", "chosen", "control", "chosen", "chosen", "swap", "swap", "swap", "swap"]
    with pytest.raises(InputError) as refused:
        items_to_ask(Wanted(file, controls=known), "rate")
    assert refused.value.code == "input/no-controls"


def test_labels_are_kept_beside_what_they_are_of(tmp_path: Path) -> None:
    (tmp_path / "beta0.1").mkdir()
    assert labels_of(tmp_path / "beta0.1") == tmp_path / "beta0.1.labels.db"
    assert labels_of(tmp_path / "answers.jsonl") == tmp_path / "answers.labels.db"
