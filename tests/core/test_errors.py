"""Errors as data, as text, and a library's complaint as one line of ours."""

import pytest

from truing.core.errors import DataError, InputError, Problem, Problems, RunError, TruingError, check, first_line

LOCKED = Problem("run/locked", None, "is in use.", "Wait for it.", where="runs/a")
ROWS = [Problem("data/empty-text", "prompt", "`prompt` is empty.", where=f"p.jsonl:{line}") for line in range(1, 6)]


def gathered(rows: list[Problem], most: int | None = 3) -> Problems:
    problems = Problems("p.jsonl", most)
    for row in rows:
        problems.add(row)
    return problems


def test_an_error_is_a_problem_as_data_and_as_text() -> None:
    error = RunError("is in use.", code="run/locked", where="runs/a", hint="Wait for it.")
    assert (error.code, error.field, error.what, error.hint, error.where) == tuple(vars(LOCKED).values())[:5]
    assert error.problems == (LOCKED,)
    assert str(error) == "runs/a: is in use. Wait for it."


@pytest.mark.parametrize("error", [RunError, DataError, InputError, TruingError])
def test_an_error_without_a_code_has_that_of_its_class(error: type[TruingError]) -> None:
    assert error("x").code == error.code
    assert error("x", code="a/b").code == "a/b"
    assert error.code not in {other.code for other in TruingError.__subclasses__() if other is not error}


def test_several_problems_are_listed_below_a_heading() -> None:
    with pytest.raises(DataError) as caught:
        gathered(ROWS, None).check(DataError)
    assert caught.value.problems == tuple(ROWS)
    assert str(caught.value).splitlines() == ["p.jsonl: 5 problems.", *(f"  {row}" for row in ROWS)]


def test_one_problem_stands_alone_and_none_is_no_error() -> None:
    gathered([]).check(DataError)
    with pytest.raises(DataError) as caught:
        gathered(ROWS[:1]).check(DataError)
    assert str(caught.value) == "p.jsonl:1: `prompt` is empty."


def test_problems_beyond_the_limit_are_counted() -> None:
    with pytest.raises(DataError) as caught:
        gathered(ROWS).check(DataError, more="`truing validate` tells all.")
    *described, rest = caught.value.problems
    assert (described, rest.code) == (ROWS[:3], "data/more")
    assert str(caught.value).endswith("\n  ... and 2 more. `truing validate` tells all.")


def test_problems_of_several_files_are_told_together_each_once() -> None:
    check([])
    with pytest.raises(InputError) as caught:
        check([LOCKED, *ROWS[:2], LOCKED])
    assert caught.value.problems == (LOCKED, *ROWS[:2])
    assert str(caught.value) == "\n".join(map(str, (LOCKED, *ROWS[:2])))
    with pytest.raises(InputError) as caught:
        check([LOCKED, LOCKED])
    assert caught.value.problem == LOCKED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such file."), "no such file"),
        (ValueError("\n first\nsecond"), "first"),
        (ValueError("\x1b[2Jgone\ttab"), r"\x1b[2Jgone\ttab"),
        (ValueError("caf\u00e9 \u202egnp.exe"), "caf\u00e9 \\u202egnp.exe"),
        (ValueError("e" * 5000), "e" * 200),
        (ValueError("\x07" * 5000), r"\x07" * 50),
        (MemoryError(), "MemoryError"),
        (KeyError("magic"), "KeyError: 'magic'"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_a_reason_is_one_line_that_can_be_printed(error: Exception, reason: str) -> None:
    assert first_line(error) == reason
