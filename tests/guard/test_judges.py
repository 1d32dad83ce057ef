"""What a judge may answer, and what is made of answers that are none. All that people do wrong in a file is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from truing.core.errors import DataError, RunError, WaitingError
from truing.guard.contests import Question, questions_about
from truing.guard.judges import PeopleJudge, read_votes
from truing.guard.ledger import Ledger
from truing.runs.directory import StageDirectory


def _rows(*responses: str) -> list[dict[str, Any]]:
    return [{"prompt": f"prompt {number}", "response": response} for number, response in enumerate(responses)]


PROMPTS = [f"prompt {number}" for number in range(20)]
NEWER, OLDER = _rows(*(f"new {n}" for n in range(20))), _rows(*(f"old {n}" for n in range(20)))
QUESTIONS = questions_about(PROMPTS, NEWER, OLDER, (17, 1))[:8]


def test_questions_are_of_different_prompts_on_sides_that_chance_chose() -> None:
    asked = questions_about(PROMPTS, NEWER, OLDER, (17, 1))
    assert len({one.prompt for one in asked}) == 20
    for one in asked:
        number = str(one.prompt).split()[1]
        newer = one.first if one.newer_is_first else one.second
        assert (newer, {one.first, one.second}) == (f"new {number}", {f"new {number}", f"old {number}"})
    assert 4 <= sum(one.newer_is_first for one in asked) <= 16
    assert [one.id for one in QUESTIONS] == [one.id for one in asked[:8]]
    other = questions_about(PROMPTS, NEWER, OLDER, (17, 2))
    assert [one.prompt for one in other] != [one.prompt for one in asked]
    known = {one.id for one in asked[:5]}
    assert questions_about(PROMPTS, NEWER, OLDER, (17, 1), known) == asked[5:]


def test_answers_that_are_the_same_are_no_question() -> None:
    asked = questions_about(PROMPTS, NEWER, [*OLDER[:19], NEWER[19]], (17, 1))
    assert {one.prompt for one in asked} == set(PROMPTS[:19])


def test_a_question_is_asked_once_whatever_the_look_and_however_often_the_prompt_comes() -> None:
    asked = questions_about(PROMPTS, NEWER, OLDER, (17, 1))
    assert questions_about(PROMPTS, NEWER, OLDER, (17, 2), {one.id for one in asked}) == []
    turned = {one.id: one.newer_is_first for one in questions_about(PROMPTS, OLDER, NEWER, (17, 2))}
    assert turned == {one.id: not one.newer_is_first for one in asked}
    assert questions_about(PROMPTS * 2, NEWER * 2, OLDER * 2, (17, 1)) != []
    assert len(questions_about(PROMPTS * 2, NEWER * 2, OLDER * 2, (17, 1))) == len(PROMPTS)


def test_an_outcome_is_that_of_the_newer_answer() -> None:
    first, second = Question("p", "p", "a", "b", True), Question("p", "p", "a", "b", False)
    assert [first.outcome(1.0), second.outcome(1.0), first.outcome(0.25), second.outcome(0.5)] == [1.0, 0.0, 0.25, 0.5]


def _vote(file: Path, **changes: Any) -> None:
    """Everybody finds the first better, but for `changes` by the number of the line."""
    rows = [json.loads(line) | {"better": "first"} for line in file.read_text().splitlines()]
    for number, vote in changes.items():
        rows[int(number[1:])]["better"] = vote
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_people_are_waited_for_and_what_they_said_is_taken(tmp_path: Path) -> None:
    judge = PeopleJudge(StageDirectory(tmp_path))
    with pytest.raises(WaitingError, match=r"guard-look-001\.jsonl: 8 of 8 judgements") as caught:
        judge.judge(1, QUESTIONS)
    assert caught.value.exit_code == 75
    file = tmp_path / "guard-look-001.jsonl"
    _vote(file, _1="second", _2="alike", _3="skip", _4=None)
    with pytest.raises(WaitingError, match="1 of 8 judgements"):
        judge.judge(1, QUESTIONS)
    _vote(file, _1="second", _2="alike", _3="skip")
    ids = [one.id for one in QUESTIONS]
    assert judge.judge(1, QUESTIONS) == {ids[0]: 1.0, ids[1]: 0.0, ids[2]: 0.5, **dict.fromkeys(ids[4:], 1.0)}


def test_a_file_does_not_say_whose_the_answers_are(tmp_path: Path) -> None:
    with pytest.raises(WaitingError):
        PeopleJudge(StageDirectory(tmp_path)).judge(1, QUESTIONS)
    assert set(json.loads((tmp_path / "guard-look-001.jsonl").read_text().splitlines()[0])) == {
        "id",
        "prompt",
        "first",
        "second",
        "better",
    }


def test_what_editors_do_to_a_file_and_what_answers_hold_is_no_fault(tmp_path: Path) -> None:
    """A mark of byte order, Windows' line ends; and ends of lines that JSON leaves as they are within a text."""
    odd = [Question("p", "p", "a\u2028b", "c\x85d", True), Question("p", "p", "\ud800", "x\x0by", False)]
    with pytest.raises(WaitingError, match="2 of 2"):
        PeopleJudge(StageDirectory(tmp_path)).judge(1, odd)
    file = tmp_path / "guard-look-001.jsonl"
    answered = file.read_bytes().replace(b"null", b'"second"').replace(b"\n", b"\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + answered)
    assert PeopleJudge(StageDirectory(tmp_path)).judge(1, odd) == {one.id: 0.0 for one in odd}


def test_a_line_that_is_gone_and_one_that_is_no_text_are_told(tmp_path: Path) -> None:
    file = tmp_path / "guard-look-001.jsonl"
    file.write_text('{"id": "a", "better": "first"}\n')
    with pytest.raises(DataError, match="1 of 2 questions have no line any more, b among them"):
        read_votes(file, ["a", "b"])
    file.write_bytes(b'{"id": "a", "better": "first"}\n\xff\n' + b"[" * 100_000)
    with pytest.raises(DataError, match="2 problems"):
        read_votes(file, ["a"])


def test_people_who_skipped_one_are_not_asked_again_when_the_run_is_taken_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "judgements.jsonl", PeopleJudge(StageDirectory(tmp_path)))
    with pytest.raises(WaitingError):
        ledger.outcomes(1, QUESTIONS)
    _vote(tmp_path / "guard-look-001.jsonl", _1="skip")
    said = ledger.outcomes(1, QUESTIONS)
    assert set(said) == {one.id for one in QUESTIONS} - {QUESTIONS[1].id}
    assert ledger.outcomes(1, QUESTIONS) == said


def test_all_that_is_wrong_with_a_file_is_told_with_its_line_and_nothing_of_it_is_changed(tmp_path: Path) -> None:
    file, known = tmp_path / "guard-look-001.jsonl", ["a", "b"]
    lines = [
        '{"id": "a", "better": "first"}',
        "not json",
        '{"better": "first"}',
        '{"id": "other run", "better": "first"}',
        '{"id": "b", "better": "left"}',
        '{"id": "a", "better": "second"}',
        '{"id": "a", "better": "first"}',
        "[1]",
    ]
    file.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        read_votes(file, known)
    told = {(problem.where or "").rpartition(":")[2]: problem.what for problem in caught.value.problems}
    assert set(told) == {"2", "3", "4", "5", "6", "8"}
    assert "none of this look" in told["4"]
    assert "'left' is none of first, second, alike, skip" in told["5"]
    assert "in two ways" in told["6"]
    assert file.read_text() == "\n".join(lines)


class _Counting:
    """Says that the first is better, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def judge(self, look: int, questions: Any) -> dict[str, float]:
        self.asked += [one.id for one in questions]
        return {one.id: 1.0 for one in questions if one.prompt != "prompt 3"}


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    judge = _Counting()
    ledger = Ledger(tmp_path / "judgements.jsonl", judge)
    first = ledger.outcomes(1, QUESTIONS)
    assert first == {one.id: float(one.newer_is_first) for one in QUESTIONS if one.prompt != "prompt 3"}
    assert Ledger(tmp_path / "judgements.jsonl", judge).outcomes(1, QUESTIONS) == first
    assert len(judge.asked) == len(QUESTIONS)


def test_half_a_line_of_a_kill_is_asked_again_and_a_line_that_is_none_is_told(tmp_path: Path) -> None:
    file, judge = tmp_path / "judgements.jsonl", _Counting()
    whole = Ledger(file, judge).outcomes(1, QUESTIONS[:3])
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    assert Ledger(file, judge).outcomes(1, QUESTIONS[:3]) == whole
    assert file.read_bytes() == content
    for bad in (b"{}\n", b'{"id": "a", "first_wins": 7}\n', b"\xff\n"):
        file.write_bytes(content + bad)
        with pytest.raises(RunError, match="no judgement"):
            Ledger(file, judge).outcomes(1, QUESTIONS[:3])
