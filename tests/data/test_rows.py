import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truing.config.sections import Source
from truing.core.errors import DataError, Problems
from truing.core.records import Demonstration, Message, Preference, Prompt, Rating
from truing.data.datasets import DATASETS, Dataset, read_file

Rows = list[dict[str, Any]]
SYSTEM = {"role": "system", "content": "be kind"}
USER = {"role": "user", "content": "hi"}
GOOD = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}
TEXT_PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
PAIR = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}


def messages(*turns: dict[str, str]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)  # type: ignore[arg-type]


def read_path(path: Path, kind: str, transcripts: bool = False) -> list[Any]:
    """The records of a file. DataError with all that is wrong, if anything is."""
    dataset = Dataset(DATASETS[f"{kind}s"], Problems(str(path)), transcripts)
    read_file(Source(path=str(path)), [dataset])
    dataset.check()
    return dataset.records


def read(place: Path, kind: str, rows: Rows, **options: bool) -> list[Any]:
    path = place / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return read_path(path, kind, **options)


def complaints(place: Path, kind: str, rows: Rows, **options: bool) -> list[str]:
    """What is wrong with the rows, one fault a line, without the folder."""
    with pytest.raises(DataError) as caught:
        read(place, kind, rows, **options)
    first, *more = str(caught.value).replace(f"{place}/", "").splitlines()
    return [line.strip() for line in more] or [first]


@pytest.mark.parametrize(
    ("row", "prompt", "completion"),
    [
        ({"prompt": "p ", "completion": " c", "other": 3}, "p ", " c"),
        ({"prompt": [USER], "completion": [GOOD]}, messages(USER), messages(GOOD)),
        ({"prompt": [SYSTEM, USER], "completion": "good"}, messages(SYSTEM, USER), messages(GOOD)),
        ({"prompt": [USER], "completion": [GOOD, USER, BAD]}, messages(USER, GOOD, USER), messages(BAD)),
        ({"messages": [USER, GOOD]}, messages(USER), messages(GOOD)),
        ({"messages": [SYSTEM, USER, GOOD, USER, BAD]}, messages(SYSTEM, USER, GOOD, USER), messages(BAD)),
    ],
)
def test_demonstrations(tmp_path: Path, row: dict[str, Any], prompt: Any, completion: Any) -> None:
    where = f"{tmp_path}/rows.jsonl:1"
    assert read(tmp_path, "demonstration", [row]) == [Demonstration(prompt, completion, where)]


@pytest.mark.parametrize(
    ("row", "prompt", "chosen", "rejected"),
    [
        (TEXT_PAIR, "p", "c", "r"),
        (PAIR, messages(USER), messages(GOOD), messages(BAD)),
        (PAIR | {"chosen": "good"}, messages(USER), messages(GOOD), messages(BAD)),
        ({"chosen": "all is good", "rejected": "all is bad"}, "all is", " good", " bad"),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, messages(USER), messages(GOOD), messages(BAD)),
        (
            {"prompt": "hi", "chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]},
            messages(SYSTEM, USER),
            messages(GOOD),
            messages(BAD),
        ),
        (
            {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, GOOD, USER, BAD]},
            messages(USER, GOOD, USER),
            messages(GOOD),
            messages(BAD),
        ),
    ],
)
def test_preferences(tmp_path: Path, row: dict[str, Any], prompt: Any, chosen: Any, rejected: Any) -> None:
    where = f"{tmp_path}/rows.jsonl:1"
    assert read(tmp_path, "preference", [row]) == [Preference(prompt, chosen, rejected, where)]
    assert read(tmp_path, "prompt", [row]) == [Prompt(prompt, where)]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "p"}, "p"),
        ({"prompt": "p", "completion": "c"}, "p"),
        ({"prompt": [USER]}, messages(USER)),
        ({"prompt": [USER], "completion": [GOOD]}, messages(USER)),
        ({"messages": [USER]}, messages(USER)),
        ({"messages": [SYSTEM, USER, GOOD]}, messages(SYSTEM, USER)),
    ],
)
def test_prompts(tmp_path: Path, row: dict[str, Any], prompt: Any) -> None:
    assert read(tmp_path, "prompt", [row]) == [Prompt(prompt, f"{tmp_path}/rows.jsonl:1")]


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize(
    ("row", "prompt", "completion"),
    [
        ({"prompt": "p ", "completion": " c"}, "p ", " c"),
        ({"prompt": [USER], "completion": "good"}, messages(USER), messages(GOOD)),
        ({"messages": [SYSTEM, USER, GOOD]}, messages(SYSTEM, USER), messages(GOOD)),
    ],
)
def test_ratings(tmp_path: Path, row: dict[str, Any], prompt: Any, completion: Any, label: bool) -> None:
    (record,) = read(tmp_path, "rating", [row | {"label": label}])
    assert record == Rating(prompt, completion, label, f"{tmp_path / 'rows.jsonl'}:1")


@pytest.mark.parametrize(
    ("label", "told"),
    [(1, "is 1"), ("true", "is 'true'"), (None, "is null"), ([True], "is a list")],
)
def test_a_label_is_true_or_false_and_nothing_like_it(tmp_path: Path, label: object, told: str) -> None:
    (complaint,) = complaints(tmp_path, "rating", [{"prompt": "p", "completion": "c", "label": label}])
    assert complaint.startswith(f"rows.jsonl:1: `label` {told}. Make it true where")


def test_a_label_that_is_missing_is_told_with_what_may_be_meant_by_it(tmp_path: Path) -> None:
    (complaint,) = complaints(tmp_path, "rating", [{"prompt": "p", "completion": "c", "desirable": True}])
    assert "`label` is missing" in complaint
    assert "If 'desirable' is what you mean, rename it to `label`." in complaint


def test_a_label_in_csv_is_its_word(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt,completion,label\np,c,true\nq,c,False\n")
    assert [record.label for record in read_path(file, "rating")] == [True, False]
    file.write_text("prompt,completion,label\np,c,1\n")
    with pytest.raises(DataError, match="`label` is '1'"):
        read_path(file, "rating")


@pytest.mark.parametrize(("margin", "expected"), [(0, 0.0), (2, 2.0), (0.5, 0.5), (None, None)])
def test_a_margin_is_a_number_or_left_out(tmp_path: Path, margin: float | None, expected: float | None) -> None:
    (row,) = read(tmp_path, "preference", [TEXT_PAIR | {"margin": margin}])
    assert row.margin == expected
    assert read(tmp_path, "preference", [TEXT_PAIR])[0].margin is None


def test_a_source_is_any_word_for_where_a_pair_is_from(tmp_path: Path) -> None:
    rows = [TEXT_PAIR | more for more in ({"source": "web"}, {"source": 3}, {"source": None}, {})]
    assert [row.source for row in read(tmp_path, "preference", rows)] == ["web", "3", "", ""]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.5), (1, 1.0), (2 / 3, 2 / 3), (None, None)])
def test_a_share_of_people_is_at_least_half_or_left_out(
    tmp_path: Path, share: float | None, expected: float | None
) -> None:
    rows = [TEXT_PAIR | {"share": share}, TEXT_PAIR]
    assert [row.share for row in read(tmp_path, "preference", rows)] == [expected, None]


@pytest.mark.parametrize("share", [0.49, 1.01, -1, float("nan"), True, "1"])
def test_another_share_is_refused_with_what_to_do(tmp_path: Path, share: Any) -> None:
    (told,) = complaints(tmp_path, "preference", [TEXT_PAIR | {"share": share}])
    assert told.startswith("rows.jsonl:1: `share` is ")
    assert "Make it a number from 0.5 to 1 (below, swap the sides)" in told


def test_a_margin_in_csv_is_its_digits(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("prompt,chosen,rejected,margin\np,c,r,0.5\np,c,r,\n")
    assert [row.margin for row in read_path(tmp_path / "r.csv", "preference")] == [0.5, None]


def test_transcripts_are_read_as_messages_where_the_recipe_says_so(tmp_path: Path) -> None:
    pair = {side: f"\n\nHuman: hi\n\nAssistant: {side}" for side in ("chosen", "rejected")}
    (plain,) = read(tmp_path, "preference", [pair])
    assert (plain.prompt, plain.chosen) == ("\n\nHuman: hi\n\nAssistant:", " chosen")
    (read_as_chat,) = read(tmp_path, "preference", [pair], transcripts=True)
    assert read_as_chat.prompt == messages(USER)
    assert read_as_chat.rejected == (Message("assistant", "rejected"),)
    row = {"prompt": "Human: hi\n\nAssistant:", "completion": " good"}
    (demonstration,) = read(tmp_path, "demonstration", [row], transcripts=True)
    assert (demonstration.prompt, demonstration.completion) == (messages(USER), messages(GOOD))


PRINTED = "is a list of messages as Python prints it. "
PRINTED += "Write it there as JSON, by json.dumps, or the rows as JSON Lines or Parquet."
TEXT_FAULTS: list[tuple[Any, str]] = [
    (None, "is null. Make it text, or a list of messages."),
    (3, "is a number. Make it text, or a list of messages."),
    (True, "is true or false. Make it text, or a list of messages."),
    ({"text": "x"}, "is an object. Make it text, or a list of messages."),
    ("", "is empty. Give it text, or remove the row."),
    (" \n\t\u3000", "has nothing but white space. Give it text, or remove the row."),
    ("a\0b", "has a NUL character. Remove the character."),
    ("ab\ud800", "has half a surrogate pair at character 3. Remove it, or write the character whole."),
    ([], "is an empty list of messages. Give it at least one message."),
    (str([{"role": "user", "content": "it's 1"}]), PRINTED),
    ("array([{'content': 'a', 'role': 'user'}], dtype=object)", PRINTED),
]
FIELDS = [("demonstration", "prompt"), ("demonstration", "completion"), ("prompt", "prompt")]
FIELDS += [("preference", name) for name in TEXT_PAIR]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@pytest.mark.parametrize(("value", "reason"), TEXT_FAULTS, ids=[reason.partition(".")[0] for _, reason in TEXT_FAULTS])
def test_a_field_that_is_no_sound_text_is_named(tmp_path: Path, kind: str, field: str, value: Any, reason: str) -> None:
    sound = {"prompt": "p", "completion": "c"} if kind == "demonstration" else TEXT_PAIR
    assert complaints(tmp_path, kind, [sound, sound | {field: value}]) == [f"rows.jsonl:2: `{field}` {reason}"]


@pytest.mark.parametrize(
    "text",
    [
        "[{'value': 1}, {'value': 2}]",
        "[{'from': 'NYC', 'to': 'LA', 'value': 3}]",
        "[{'role': 'admin', 'content': 'all'}]",
        "[{'role': 'user', 'content': 'hi'}]\n\nThis is how the API is called.",
    ],
)
def test_a_text_about_python_is_a_text(tmp_path: Path, text: str) -> None:
    (demonstration,) = read(tmp_path, "demonstration", [{"prompt": "p", "completion": text}])
    assert demonstration.completion == text


@pytest.mark.parametrize(
    ("kind", "row", "field", "there"),
    [
        ("demonstration", {"completion": "c", "x": 1}, "prompt", "'completion', 'x'"),
        ("demonstration", {"prompt": "p"}, "completion", "'prompt'"),
        ("preference", {"prompt": "p", "rejected": "r"}, "chosen", "'prompt', 'rejected'"),
        ("preference", {"prompt": [USER], "chosen": "c"}, "rejected", "'prompt', 'chosen'"),
        ("preference", {"chosen": "c"}, "rejected", "'chosen'"),
        ("prompt", {"completion": "c"}, "prompt", "'completion'"),
        ("prompt", {"notes": "p"}, "prompt", "'notes'"),
        ("prompt", {}, "prompt", "nothing"),
    ],
)
def test_a_missing_field_is_named_with_those_there_are(
    tmp_path: Path, kind: str, row: dict[str, Any], field: str, there: str
) -> None:
    told = f"rows.jsonl:1: `{field}` is missing. Every row needs one; this one has {there}."
    assert complaints(tmp_path, kind, [row]) == [told]


@pytest.mark.parametrize(
    ("kind", "row", "column", "other"),
    [
        ("demonstration", {"prompt": "p", "response": "r"}, "completion", "response"),
        ("demonstration", {"Prompt": "p", "completion": "c"}, "prompt", "Prompt"),
        ("demonstration", {"instruction": "p", "completion": "c"}, "prompt", "instruction"),
        ("demonstration", {"conversations": [USER, GOOD]}, "messages", "conversations"),
        ("prompt", {"conversations": [USER]}, "messages", "conversations"),
        ("preference", {"prompt": "p", "choosen": "c", "rejected": "r"}, "chosen", "choosen"),
    ],
)
def test_a_column_of_another_name_is_told_once_with_its_new_name(
    kind: str, row: dict[str, Any], column: str, other: str, tmp_path: Path
) -> None:
    (told,) = complaints(tmp_path, kind, [row] * 30)
    assert told.startswith(f"rows.jsonl:1: `{column}` is missing; 30 rows are so. Every row needs one; this one has ")
    assert told.endswith(f" If '{other}' is what you mean, rename it to `{column}`.")


@pytest.mark.parametrize(
    ("kind", "row", "left"),
    [
        ("demonstration", {"prompt": "p", "messages": [USER, GOOD]}, "prompt"),
        ("prompt", {"prompt": "p", "messages": [USER, GOOD]}, "messages"),
        ("demonstration", {"prompt": "hi ", "messages": [USER, GOOD]}, ""),
        ("demonstration", {"prompt": "p", "completion": "c", "messages": [USER, GOOD]}, "messages"),
        ("demonstration", {"prompt": "p", "completion": "c", "margin": 1}, "margin"),
        ("preference", TEXT_PAIR | {"completion": "c"}, "completion"),
        ("preference", {"prompt": "another", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "prompt"),
        ("preference", {"prompt": "hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, ""),
    ],
)
def test_a_column_that_is_known_and_not_read_of_this_row_is_told(
    kind: str, row: dict[str, Any], left: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    dataset = Dataset(DATASETS[f"{kind}s"], Problems(str(path)))
    read_file(Source(path=str(path)), [dataset], thorough=True)
    assert dataset.oddities == ([f"{path}:1: `{left}` is not read."] if left else [])


USER_FIRST = "Turns alternate: user, assistant, user, ..., after one system turn at most."
MESSAGE_FAULTS: list[tuple[Any, str]] = [
    (["hi"], "[0]` is text. A message is"),
    ([None], "[0]` is null. A message is"),
    ([{"content": "hi"}], "[0]` has no role. Its role is system, user or assistant."),
    ([{"role": None, "content": "hi"}], "[0]` has no role."),
    ([{"from": "human", "value": "hi"}], "[0]` has no role. Call `from` role and `value` content;"),
    ([{"role": "human", "content": "hi"}], "[0].role` is 'human'. A role is system, user or assistant."),
    ([{"role": "tool", "content": "3"}], "[0].role` is 'tool'. A role is system, user or assistant. What tools say"),
    ([{"role": 3, "content": "hi"}], "[0].role` is 3."),
    ([{"role": ["user"], "content": "hi"}], "[0].role` is a list."),
    ([{"role": "user"}], "[0].content` is missing. Give it text; nothing else can be learnt from."),
    ([{"role": "user", "content": None}], "[0].content` is null. Give it text"),
    ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "[0].content` is a list. Give it text"),
    ([{"role": "user", "content": ""}], "[0].content` is empty."),
    ([USER, GOOD | {"content": "", "tool_calls": [{}]}], "[1].content` is empty beside tool_calls. Write the call"),
    ([{"role": "user", "content": " \n"}], "[0].content` has nothing but white space."),
    ([{"role": "user", "content": "a\0"}], "[0].content` has a NUL character."),
    ([{"role": "user", "content": "\udfff"}], "[0].content` has half a surrogate pair at character 1."),
    ([GOOD, USER], f"[0]` is the assistant's, but the user speaks first. {USER_FIRST}"),
    ([USER, USER, GOOD], f"[1]` is the second user turn in a row. {USER_FIRST}"),
    ([USER, GOOD, GOOD], f"[2]` is the second assistant turn in a row. {USER_FIRST}"),
    ([USER, GOOD, USER], f"[2]` is the last turn and not the assistant's. {USER_FIRST}"),
    ([USER, SYSTEM, GOOD], f"[1]` is a system turn, which may only open a conversation. {USER_FIRST}"),
    ([SYSTEM], f"[0]` is not followed by a user turn. {USER_FIRST}"),
    ([], "` is an empty list of messages."),
]


@pytest.mark.parametrize(("turns", "complaint"), MESSAGE_FAULTS)
def test_a_message_that_cannot_be_is_named(tmp_path: Path, turns: Any, complaint: str) -> None:
    (told,) = complaints(tmp_path, "demonstration", [{"messages": turns}])
    assert told.startswith(f"rows.jsonl:1: `messages{complaint}")


@pytest.mark.parametrize(
    ("kind", "row", "complaint"),
    [
        ("preference", TEXT_PAIR | {"rejected": "c"}, "`chosen` equals `rejected`. Remove the row; it says nothing"),
        ("preference", PAIR | {"rejected": "good"}, "`chosen` equals `rejected`."),
        ("preference", {"chosen": "yes", "rejected": "no"}, "`chosen` shares no beginning with `rejected`"),
        ("preference", {"chosen": "a b ", "rejected": "a b c"}, "`chosen` ends where the other side goes on."),
        ("preference", {"chosen": "a b", "rejected": [USER, GOOD]}, "`rejected` is not of the same kind as `chosen`."),
        ("preference", TEXT_PAIR | {"chosen": [GOOD]}, "`chosen` is messages, but `prompt` is text."),
        (
            "preference",
            {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD, USER, BAD]},
            "`chosen` and `rejected` part before their last turn. Cut both after the first answer that differs",
        ),
        ("preference", {"chosen": [GOOD], "rejected": [BAD]}, "`chosen[0]` is the assistant's, but the user speaks"),
        ("demonstration", {"messages": "hi"}, "`messages` is text. Make it a list of messages."),
        ("demonstration", {"prompt": "p", "completion": [GOOD]}, "`completion` is messages, but `prompt` is text."),
        ("demonstration", {"prompt": [USER, GOOD], "completion": "x"}, "`prompt[1]` is the assistant's, but a prompt"),
        ("demonstration", {"prompt": [USER], "completion": [USER]}, "`completion[0]` is the user's, but a completion"),
        *(
            ("preference", TEXT_PAIR | {"margin": margin}, f"`margin` is {shown}. Make it a finite number that is not")
            for margin, shown in [
                ("1", "'1'"),
                (-1, "-1"),
                (-0.5, "-0.5"),
                (True, "true or false"),
                ([], "a list"),
            ]
        ),
        *(
            ("preference", TEXT_PAIR | {"margin": margin}, f"`margin` is {margin}.")
            for margin in (float("nan"), float("inf"))
        ),
    ],
)
def test_a_row_that_contradicts_itself_is_named(tmp_path: Path, kind: str, row: Any, complaint: str) -> None:
    told, *_ = complaints(tmp_path, kind, [row])
    assert told.startswith(f"rows.jsonl:1: {complaint}")


def test_all_faults_of_a_file_are_told_together_in_its_order(tmp_path: Path) -> None:
    rows = [TEXT_PAIR, {"prompt": "", "chosen": None, "rejected": "r"}, TEXT_PAIR | {"margin": -1}, {"prompt": "p"}]
    with pytest.raises(DataError) as caught:
        read(tmp_path, "preference", rows)
    assert [(problem.where, problem.field, problem.code) for problem in caught.value.problems] == [
        (f"{tmp_path}/rows.jsonl:2", "prompt", "data/empty-text"),
        (f"{tmp_path}/rows.jsonl:2", "chosen", "data/not-text"),
        (f"{tmp_path}/rows.jsonl:3", "margin", "data/bad-margin"),
        (f"{tmp_path}/rows.jsonl:4", "chosen", "data/missing-field"),
        (f"{tmp_path}/rows.jsonl:4", "rejected", "data/missing-field"),
    ]


def test_a_file_does_not_mix_text_with_messages(tmp_path: Path) -> None:
    (told,) = complaints(tmp_path, "preference", [TEXT_PAIR, TEXT_PAIR, PAIR])
    assert told == (
        "rows.jsonl:3: `prompt` is messages, where rows.jsonl:1 has text. Use one of the two throughout a file."
    )


def test_broken_lines_are_told_beside_faulty_rows(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(
        b'\xef\xbb\xbf{"prompt": "a"}\n{"prompt": ""}\n{"prompt": "\xff"}\n{"prompt": "b'
    )
    with pytest.raises(DataError) as caught:
        read_path(tmp_path / "r.jsonl", "prompt")
    assert [line.split(": ")[0].strip()[-2:] for line in str(caught.value).splitlines()[1:]] == [":2", ":3", ":4"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "human", None]), "content": st.text(max_size=3) | JSON}
)
FIELD = JSON | st.lists(TURN, max_size=4) | st.sampled_from(["Human: a\n\nAssistant: b", "Human:", "Human: \n\nHuman:"])
NAMES = st.sampled_from(["prompt", "completion", "messages", "chosen", "rejected", "margin", "other"])
LINES = st.dictionaries(NAMES, FIELD, max_size=5).map(lambda row: json.dumps(row).encode()) | st.binary(max_size=20)


def faults(kind: str, path: Path, transcripts: bool) -> list[str]:
    """What the error tells, one fault a line; nothing where the file is sound."""
    try:
        read_path(path, kind, transcripts)
    except DataError as error:
        first, *more = str(error).splitlines()
        return [line.strip() for line in more] or [first]
    return []


@pytest.mark.parametrize("kind", ["demonstration", "preference", "rating", "prompt"])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
@given(lines=st.lists(LINES, min_size=1, max_size=3), transcripts=st.booleans())
@settings(max_examples=60)
def test_whatever_a_file_holds_it_is_read_or_told_by_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str, suffix: str, lines: list[bytes], transcripts: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(b"\n".join(lines))
    kinds = "UTF-16", "compressed", "a zip archive", "Parquet"
    of_the_file = [f"{path}: there are no rows in it.", *(f"{path}: the file is {kind}" for kind in kinds)]
    of_the_array = [f"{path}: no valid JSON", f"{path}: byte ", f"{path} row "] if suffix == "json" else []
    for fault in faults(kind, path, transcripts):
        by_line = re.match(rf"{re.escape(str(path))}:[1-9][0-9]*: .", fault)
        assert by_line or fault.startswith((*of_the_file, *of_the_array)), fault


@pytest.mark.parametrize("kind", ["demonstration", "preference", "rating", "prompt"])
@given(rows=st.lists(st.dictionaries(NAMES, FIELD, max_size=4), min_size=1, max_size=3))
@settings(max_examples=40)
def test_whatever_an_array_of_rows_holds_it_is_read_or_told_by_row(
    tmp_path_factory: pytest.TempPathFactory, kind: str, rows: Rows
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.json"
    path.write_text(json.dumps(rows))
    for fault in faults(kind, path, transcripts=False):
        assert re.match(rf"{re.escape(str(path))} row [1-9][0-9]*: .", fault), fault
