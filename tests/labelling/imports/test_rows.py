"""Exports of Label Studio and Argilla become rows that a recipe reads; what is none is refused with its place.

The shapes are those of Label Studio 1.x (docs/source/guide/export.md, and Pairwise.js of its editor) and of Argilla's
SDK 2.x (records/_io/_generic.py and _json.py, settings/_templates.py).
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.core.errors import DataError
from truing.data.datasets import records_of
from truing.labelling.imports.rows import rows_of_export

ASKED = {"prompt": "Why?", "answer1": "So.", "answer2": "Because."}
FIRST = {"prompt": "Why?", "chosen": "So.", "rejected": "Because."}
SECOND = {"prompt": "Why?", "chosen": "Because.", "rejected": "So."}
OF_ONE = {"instruction": "Why?", "response": "So."}
TWO_OF_THREE = {"share": pytest.approx(2 / 3), "votes": 3}
ALONE = {"prompt": "Why?", "completion": "So."}


def task(data: dict[str, Any], *people: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    annotations = [
        {"id": 1000 + number, "result": result, "was_cancelled": False, "ground_truth": False, "completed_by": number}
        for number, result in enumerate(people)
    ]
    return {"id": 1, "data": data, "annotations": annotations, "predictions": [], "project": 83} | more


def pairwise(selected: str, to_name: Any = "answer1,answer2") -> dict[str, Any]:
    value = {"selected": selected}
    return {"id": "Dx", "from_name": "comparison", "to_name": to_name, "type": "pairwise", "value": value}


def choices(choice: str, to_name: str = "response") -> dict[str, Any]:
    return {"from_name": "good", "to_name": to_name, "type": "choices", "value": {"choices": [choice]}}


def rating(stars: int, to_name: str = "response", control: str = "stars") -> dict[str, Any]:
    return {"from_name": control, "to_name": to_name, "type": "rating", "value": {"rating": stars}}


def record(fields: dict[str, Any], responses: dict[str, list[Any]]) -> dict[str, Any]:
    """Nested: each person of a question by their place."""
    told = {
        question: [{"value": value, "user_id": f"user-{number}"} for number, value in enumerate(values)]
        for question, values in responses.items()
    }
    suggestion = {"value": "answer1", "score": 0.9, "agent": "model"}
    return {"id": "r", "fields": fields, "metadata": {}, "suggestions": {"ranking": suggestion}} | {
        "responses": told,
        "vectors": {},
        "_server_id": "s",
    }


def flat(fields: dict[str, Any], question: str, values: list[Any], status: list[str] | None = None) -> dict[str, Any]:
    users = [f"user-{number}" for number in range(len(values))]
    return (
        {"id": "r", "status": "completed", "_server_id": "s"}
        | fields
        | {
            f"{question}.responses": values,
            f"{question}.responses.users": users,
            f"{question}.responses.status": status or ["submitted"] * len(values),
            f"{question}.suggestion": "answer1",
        }
    )


def without_users(record: dict[str, Any]) -> dict[str, Any]:
    for responses in record["responses"].values():
        for one in responses:
            one["user_id"] = None
    return record


def ranks(first: int, second: int) -> list[dict[str, Any]]:
    return [{"value": "answer1", "rank": first}, {"value": "answer2", "rank": second}]


def vote(margin: float, share: float, votes: int) -> dict[str, Any]:
    return {"margin": pytest.approx(margin), "share": pytest.approx(share), "votes": votes}


@pytest.mark.parametrize(
    ("exported", "expected"),
    [
        (task(ASKED, [pairwise("left")]), [FIRST | vote(1, 1, 1)]),
        (task(ASKED, [pairwise("right", ["answer1", "answer2"])]), [SECOND | vote(1, 1, 1)]),
        # as its editor writes it: of itself alone (Pairwise.js: createResult(..., self.name))
        (task(dict(reversed(ASKED.items())), [pairwise("left", "comparison")]), [FIRST | vote(1, 1, 1)]),
        # two of three for the first: the mean of 1, 1 and −1 is 1/3
        (task(ASKED, [pairwise("left")], [pairwise("left")], [pairwise("right")]), [FIRST | vote(1 / 3, 2 / 3, 3)]),
        (task({"question": "Why?", "a": "So.", "b": "Because."}, [pairwise("left", "a,b")]), [FIRST | vote(1, 1, 1)]),
        (task(ASKED, [choices("answer2", "prompt")]), [SECOND | vote(1, 1, 1)]),
        (task(ASKED, [choices("Left", "prompt")], [choices("tie", "prompt")]), [FIRST | vote(0.5, 1, 2)]),
        (task(ASKED, [rating(2, "answer1", "a"), rating(5, "answer2", "b")]), [SECOND | vote(3, 1, 1)]),
        (
            task(OF_ONE, [choices("Good")], [choices("no")], [choices("yes")]),
            [ALONE | {"label": True, "share": pytest.approx(2 / 3), "votes": 3}],
        ),
        (task(OF_ONE, [rating(2)], [rating(3)]), [ALONE | {"label": False, "rating": 2.5, "votes": 2}]),
        (record(ASKED, {"better": ["answer1", "answer1", "answer2"]}), [FIRST | vote(1 / 3, 2 / 3, 3)]),
        (record(ASKED, {"ranking": [ranks(2, 1), ranks(1, 1)]}), [SECOND | vote(0.5, 1, 2)]),
        (record(ASKED, {"answer1_rating": [1, 5], "answer2_rating": [4, 4]}), [SECOND | vote(1, 0.5, 2)]),
        (record(ASKED, {"ranking": [ranks(1, 2)], "why": ["It is short."]}), [FIRST | vote(1, 1, 1)]),
        (record(OF_ONE, {"rating": [5, 4]}), [ALONE | {"label": True, "rating": 4.5, "votes": 2}]),
        (record(OF_ONE, {"label": ["no"]}), [ALONE | {"label": False, "share": 1.0, "votes": 1}]),
        (flat(ASKED, "better", ["answer2", "answer1"], ["submitted", "draft"]), [SECOND | vote(1, 1, 1)]),
        (
            task(OF_ONE, [choices("thumbs_up")], [choices("thumbs_down")], [choices("thumbs_down")]),
            [ALONE | {"label": False, "share": pytest.approx(2 / 3), "votes": 3}],
        ),
        (task(OF_ONE, [choices("no")], [choices("Unsure")]), [ALONE | {"label": False, "share": 1.0, "votes": 1}]),
        (without_users(record(OF_ONE, {"label": ["no", "no", "yes"]})), [ALONE | {"label": False} | TWO_OF_THREE]),
        (
            record({"prompt": "Why?", "answer1": "So.", "answer10": "Because."}, {"q": ["answer10"]}),
            [SECOND | vote(1, 1, 1)],
        ),
        (flat(OF_ONE, "rating", [1, 1]), [ALONE | {"label": False, "rating": 1.0, "votes": 2}]),
    ],
)
def test_what_people_said_becomes_rows(tmp_path: Path, exported: dict[str, Any], expected: list[Any]) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([exported]))
    rows, without = rows_of_export(file)
    assert (rows, without) == (expected, 0)
    dataset = "preferences" if "chosen" in rows[0] else "ratings"
    assert len(records_of(tiny.write_rows(tmp_path / "rows.jsonl", rows), dataset, transcripts=False)) == 1


def test_three_answers_that_were_ranked_give_a_row_for_each_two(tmp_path: Path) -> None:
    order = [{"value": "response-3", "rank": 1}, {"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 3}]
    fields = {"instruction": "Why?", "response-1": "a", "response-2": "b", "response-3": "c", "context": "none"}
    rows, _ = rows_of_export(tiny.write_rows(tmp_path / "r.jsonl", [record(fields, {"ranking": [order]})]))
    assert {(row["chosen"], row["rejected"], row["margin"]) for row in rows} == {
        ("a", "b", 1),
        ("c", "a", 1),
        ("c", "b", 2),
    }


def test_records_that_say_nothing_are_counted(tmp_path: Path) -> None:
    skipped = task(ASKED, [pairwise("left")])
    skipped["annotations"][0]["was_cancelled"] = True
    even = task(ASKED, [pairwise("left")], [pairwise("right")])
    rows, without = rows_of_export(
        tiny.write_rows(tmp_path / "t.jsonl", [skipped, even, task(ASKED), task(ASKED, [pairwise("left")])])
    )
    assert (len(rows), without) == (1, 3)


def test_a_chat_stays_a_chat(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Why?"}]
    fields = {"prompt": chat, "response1": "So.", "response2": "Because."}
    rows, _ = rows_of_export(tiny.write_rows(tmp_path / "r.jsonl", [record(fields, {"q": ["response1"]})]))
    assert (rows[0]["prompt"], rows[0]["chosen"]) == (chat, [{"role": "assistant", "content": "So."}])


@pytest.mark.parametrize(
    ("exported", "code", "field"),
    [
        ({"prompt": "a", "chosen": "b"}, "data/no-export", "annotations"),
        (ASKED | {"comparison": {"selected": "left"}}, "data/no-export", "annotations"),  # JSON_MIN
        (task(ASKED) | {"annotations": [{"id": 3}]}, "data/no-result", "annotations[0]"),
        (task(ASKED, [pairwise("left", "txt-1,txt-2")]), "data/no-judged-field", "txt-1"),
        (task({"note": "Why?", "answer1": "b"}, [rating(2)]), "data/no-judged-field", "prompt"),
        (task({"prompt": "Why?"}, [rating(2)]), "data/no-judged-field", "answer1"),
        (task(OF_ONE, [rating(7)]), "data/other-rating", "stars"),
        (task(ASKED, [rating(2, "prompt")]), "data/of-no-answer", "stars"),
        (record(ASKED | {"answer1": 3}, {"q": ["answer1"]}), "data/not-text", "answer1"),
        # as Argilla's SDK has rankings (responses.py: [v["value"] for v in value]), in the question's order
        (record(ASKED, {"ranking": [["answer1", "answer2"]]}), "data/no-ranks", "ranking"),
        (record(ASKED, {"better": ["answer1"], "ranking": [ranks(2, 1)]}), "data/several-questions", "ranking"),
        (task(OF_ONE, [choices("yes")], [choices("nope")]), "data/unknown-judgement", "good"),
        (record(ASKED, {"better": ["answer1", "the other"]}), "data/unknown-judgement", "better"),
        (record(OF_ONE, {}) | {"responses": {"q": 5}}, "data/no-responses", "q"),
        (OF_ONE | {"q.responses": "yes"}, "data/no-responses", "q"),
        (flat(OF_ONE, "q", ["yes", "no"]) | {"q.responses.users": ["Ann"]}, "data/no-responses", "q.responses"),
        (flat(OF_ONE, "q", ["yes", "no"], ["submitted"]), "data/no-responses", "q.responses"),
        (flat(OF_ONE, "q", ["yes", "no"]) | {"q.responses.users": ["Ann", "Ann"]}, "data/answered-twice", "q"),
        (task(OF_ONE, [choices("yes") | {"to_name": 5}]) | {"data": ASKED}, "data/of-no-answer", "good"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, exported: dict[str, Any], code: str, field: str) -> None:
    file = tiny.write_rows(tmp_path / "rows.jsonl", [task(ASKED, [pairwise("left")]), exported])
    with pytest.raises(DataError) as refused:
        rows_of_export(file)
    (problem,) = refused.value.problems
    assert (problem.code, problem.field, problem.where) == (code, field, f"{file}:2")
    assert problem.hint


def test_a_file_that_is_no_export_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        rows_of_export(tiny.write_rows(tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b"}] * 30))
    assert [problem.code for problem in refused.value.problems] == ["data/no-export"]


def test_an_export_on_which_nobody_has_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        rows_of_export(tiny.write_rows(tmp_path / "rows.jsonl", [task(ASKED), record(ASKED, {})]))
    assert refused.value.code == "data/no-judgements"


def test_what_has_no_shape_of_theirs_is_no_judgement(tmp_path: Path) -> None:
    odd = [task(OF_ONE, [choices("yes") | {"type": ["choices"]}]), record(OF_ONE, {}) | {"responses": {"q": [5, None]}}]
    rows, without = rows_of_export(tiny.write_rows(tmp_path / "r.jsonl", [*odd, task(OF_ONE, [choices("yes")])]))
    assert (len(rows), without) == (1, 2)
