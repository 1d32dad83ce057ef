"""What a function takes by keyword: it is given a value for each response, or it is refused with what there is."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.core.errors import RewardError
from truing.core.records import Message, Sample
from truing.data.columns import Taken
from truing.guard.contests import Question
from truing.guard.judges import ScoresJudge, pairs_judge
from truing.judge import judge
from truing.rewards.python_function import FunctionReward

SUMS = [("1+1=", "2", "2"), ("2+3=", "6", "5"), ("4+4=", "8", "8")]


def _samples(rows: Sequence[dict[str, object]] | None = None) -> list[Sample]:
    """Sums with an answer each; the second is wrong."""
    columns = rows or [{"answer": answer, "tests": [int(answer)], "id": n} for n, (*_, answer) in enumerate(SUMS)]
    return [
        Sample(prompt, said, (1, 2), (n,), True, json.dumps(row))
        for n, ((prompt, said, _), row) in enumerate(zip(SUMS, columns, strict=True))
    ]


def _function(place: Path, written: str) -> FunctionReward:
    (place / "own.py").write_text(written)
    return FunctionReward.load(f"{place / 'own.py'}:score", Recipe())


def test_a_column_is_handed_over_with_a_value_for_each_response(tmp_path: Path) -> None:
    function = _function(
        tmp_path,
        "def score(prompts, responses, answer, tests):\n"
        "    return [float(r == a) + t[0] / 10 for r, a, t in zip(responses, answer, tests, strict=True)]",
    )
    assert function.score(_samples()) == [1.2, 0.5, 1.8]
    assert function.keywords.taken == Taken(frozenset({"answer", "tests"}))


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("prompts, responses, **columns", "sorted(columns) == ['answer', 'id', 'tests']"),
        ("prompts, responses, *, answer, **columns", "sorted(columns) == ['id', 'tests'] and answer[2] == '8'"),
        ("prompts, responses, answer=None, scale=2.0", "answer == ['2', '5', '8'] and scale == 2.0"),
        ("prompts, answer, /", "answer == ['2', '6', '8']"),
        ("id, responses, **columns", "sorted(columns) == ['answer', 'tests'] and id[0] == '1+1='"),
        ("*given, id", "id == [0, 1, 2] and given[1] == ['2', '6', '8']"),
        (
            "prompts, responses, response_tokens, prompt_tokens",
            "response_tokens[2] == [2] and prompt_tokens[0] == [1, 2]",
        ),
        ("prompts, responses, messages", "messages[1][1] == {'role': 'assistant', 'content': '6'}"),
    ],
)
def test_what_a_signature_asks_for_is_what_is_given(arguments: str, given: str, tmp_path: Path) -> None:
    function = _function(tmp_path, f"def score({arguments}):\n    return [float({given})] * 3")
    assert function.score(_samples()) == [1.0, 1.0, 1.0]


def test_a_conversation_is_whole(tmp_path: Path) -> None:
    asked = (Message("system", "be kind"), Message("user", "hi"))
    whole = [{"role": turn.role, "content": turn.content} for turn in (*asked, Message("assistant", "yes"))]
    function = _function(tmp_path, f"def score(p, r, messages):\n    return [float(messages == [{whole}])]")
    assert function.score([Sample(asked, "yes", (1,), (2,), True)]) == [1.0]


def test_a_conversation_has_all_that_its_answer_has(tmp_path: Path) -> None:
    written = "def score(p, r, messages):\n    return [float(turns[-1]['reasoning'] == 'why') for turns in messages]"
    sample = Sample("a", "yes", (1,), (2,), True, more=json.dumps({"reasoning": "why"}))
    assert _function(tmp_path, written).score([sample]) == [1.0]


def test_what_no_row_has_is_refused_with_what_there_is(tmp_path: Path) -> None:
    function = _function(tmp_path, "def score(prompts, responses, answers):\n    return [1.0] * 3")
    with pytest.raises(RewardError) as refusal:
        function.score(_samples())
    there = "`answer`, `tests`, `id`, `messages`, `prompt_tokens`, `response_tokens`"
    told = f"takes `answers`, and no row has a column of that name; there are {there}. Did you mean `answer`?"
    assert (str(refusal.value), refusal.value.code) == (f"{function.name}: {told}", "rewards/no-column")


def test_a_column_that_is_called_as_what_is_made_is_handed_over_or_refused_and_never_lost(tmp_path: Path) -> None:
    row = json.dumps({"prompt_tokens": "its own"})
    samples = [Sample("p", "r", (1,), (2,), True, row)]
    whole = _function(
        tmp_path, "def score(p, r, **columns):\n    return [float(columns == {'prompt_tokens': ['its own']})]"
    )
    assert whole.score(samples) == [1.0]
    other = _function(tmp_path, "def score(p, r, response_tokens, **columns):\n    return [float(len(columns))]")
    assert other.score(samples) == [1.0]
    for default in ("", "=None"):
        named = _function(tmp_path, f"def score(p, r, prompt_tokens{default}):\n    return [1.0]")
        with pytest.raises(RewardError, match=r"takes `prompt_tokens`, which rows have as a column and truing makes"):
            named.score(samples)


def test_tokens_are_not_made_up_where_there_is_text_alone(tmp_path: Path) -> None:
    function = _function(tmp_path, "def score(prompts, responses, response_tokens):\n    return [1.0]")
    with pytest.raises(RewardError, match=r"takes `response_tokens`.*there are `messages`\. Give the rows such"):
        function.score([Sample("p", "r", (), (), True)])


def test_a_positional_argument_too_many_is_no_keyword(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="is called with two lists"):
        _function(tmp_path, "def score(prompts, responses, answer, /):\n    return [1.0]")


def test_a_guards_functions_know_the_row(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def right(prompts, responses, answer):\n    return [float(r == a) for r, a in zip(responses, answer)]\n"
        "def first(prompts, pairs, answer):\n    return [float(p[0] == a) for p, a in zip(pairs, answer)]\n"
        "def tokens(prompts, pairs, response_tokens):\n    return [1.0]\n"
    )
    two = [Question("p", "p", "4", "5", True, json.dumps({"answer": answer})) for answer in ("4", "5")]
    assert two[0].id != two[1].id
    scores = ScoresJudge(FunctionReward.load(f"{tmp_path / 'own.py'}:right", Recipe()))
    for judges in (scores, pairs_judge(f"{tmp_path / 'own.py'}:first", Recipe())):
        assert judges.judge(1, two) == {two[0].id: 1.0, two[1].id: 0.0}
    with pytest.raises(RewardError, match="takes `response_tokens`"):
        pairs_judge(f"{tmp_path / 'own.py'}:tokens", Recipe()).judge(1, two)


def test_a_card_of_a_function_hands_it_the_columns_of_the_pairs(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n}?", "chosen": str(n), "rejected": f"{n} or so", "answer": str(n if n % 4 else "no")}
        for n in range(40)
    ]
    pairs = tiny.write_rows(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "own.py").write_text(
        "def right(prompts, responses, answer):\n    return [float(r == a) for r, a in zip(responses, answer)]\n"
    )
    found = judge(f"{tmp_path / 'own.py'}:right", pairs)
    assert found.card.heldout_accuracy == 0.875  # 30 of 40 are right, and 10 where both score 0 count half
