"""What a run's policy said stands against its start or its best, what a guard left open first, turns as turns."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from report.example_run import write_run

from truing.core.records import Message
from truing.labelling.collection import Wanted, items_to_ask
from truing.labelling.items import Item
from truing.labelling.run_answers import items_of_run
from truing.runs.directory import RunDirectory

GOLD = {0: 0.5, 5: 0.2, 10: 0.9, 15: 0.4}
"""The judge's mean after each step; the score rises all along"""


def line(step: int, prompt: str = "a?", **more: Any) -> dict[str, Any]:
    own = {"step": step, "prompt": prompt, "response": f"{prompt} {step}", "length": 2, "finished": True}
    return own | {"judges": {"gold": GOLD[step]}, "score": float(step)} | more


def run_of(place: Path, lines: list[dict[str, Any]], **result: Any) -> RunDirectory:
    """A finished run whose first policy said these."""
    run = RunDirectory(write_run(place / "run"))
    tiny.write_rows(run.stage("ppo").samples, lines)
    file = run.stage("ppo").result
    file.write_text(json.dumps(json.loads(file.read_text()) | result))
    return run


def said(items: list[Item]) -> list[tuple[str, ...]]:
    return [tuple(map(str, item.answers)) for item in items]


@pytest.mark.parametrize(
    ("against", "judges", "kept", "expected"),
    [
        ("start", {"gold"}, None, ("a? 0", "a? 15")),
        ("best", {"gold"}, None, ("a? 10", "a? 15")),
        ("best", set(), None, ("a? 10", "a? 15")),  # by the score, of the earlier ones
        ("start", {"gold"}, 10, ("a? 0", "a? 10")),
        ("best", {"gold"}, 10, ("a? 0", "a? 10")),
        ("best", set(), 10, ("a? 5", "a? 10")),
    ],
)
def test_the_step_that_became_the_result_stands_against_another(
    tmp_path: Path, against: Any, judges: set[str], kept: int | None, expected: tuple[str, str]
) -> None:
    lines = [line(step) | {"judges": dict.fromkeys(judges, GOLD[step])} for step in GOLD]
    run = run_of(tmp_path, lines, **({} if kept is None else {"guard_kept_step": kept}))
    (item,) = items_of_run(run, None, against)
    assert item.answers == expected
    assert item.sources == tuple(f"ppo, step {answer.split()[1]}" for answer in expected)


def test_prompts_that_are_written_alike_keep_their_own_answers(tmp_path: Path) -> None:
    lines = [line(step) | {"response": f"{which} {step}"} for step in (0, 5) for which in ("one", "other")]
    assert said(items_of_run(run_of(tmp_path, lines), None, "start")) == [("one 0", "one 5"), ("other 0", "other 5")]


def test_what_the_guard_left_open_comes_first(tmp_path: Path) -> None:
    prompts = [f"{number}?" for number in range(5)]
    lines = [line(step, prompt) | {"score": place * step} for step in (0, 5) for place, prompt in enumerate(prompts)]
    run = run_of(tmp_path, lines)
    judged = {prompts[1]: 1.0, prompts[2]: 0.75, prompts[3]: None, prompts[4]: 0.5}
    tiny.write_rows(
        run.stage("ppo").judgements,
        [
            {"look": 1, "id": prompt, "prompt": prompt, "first": f"{prompt} 5", "second": f"{prompt} 0"}
            | {"newer_is_first": True, "first_wins": share}
            for prompt, share in judged.items()
        ],
    )
    items = items_to_ask(Wanted(run.root, random_share=0.0), "pairs")
    assert [item.prompt for item in items] == ["3?", "4?", "0?", "1?", "2?"]  # then those whose scores are closest


def test_conversations_are_turns_again(tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"}]
    turns = [
        {"role": "assistant", "content": "You?"},
        {"role": "user", "content": "No."},
        {"role": "assistant", "content": "I."},
    ]
    lines = [
        line(0, "system: Be short.\n\nuser: Who?", prompt_turns=asked, turns=turns[:1]) | {"response": "You?"},
        line(5, "system: Be short.\n\nuser: Who?", prompt_turns=asked, turns=turns),
    ]
    (item,) = items_of_run(run_of(tmp_path, lines), None, "start")
    assert item.prompt == (Message("system", "Be short."), Message("user", "Who?"))
    assert item.answers == ("You?", tuple(Message(turn["role"], turn["content"]) for turn in turns))  # type: ignore[arg-type]


def test_a_conversation_of_an_earlier_truing_is_one_text(tmp_path: Path) -> None:
    (item,) = items_of_run(run_of(tmp_path, [line(step, "user: Who?") for step in (0, 5)]), None, "start")
    assert item.prompt == "user: Who?"
