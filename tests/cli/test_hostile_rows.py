"""The faults that rows and files have in the wild, one by one, as `truing validate` or `truing run` tells them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

PROMPT = [{"role": "user", "content": "ab?"}]
GOOD, BAD = ([{"role": "assistant", "content": text}] for text in ("aa", "zz"))
ROW: dict[str, Any] = {"prompt": "ab?", "chosen": "aa", "rejected": "zz"}
CHAT: dict[str, Any] = {"prompt": PROMPT, "chosen": GOOD, "rejected": BAD}


def line(row: Any) -> bytes:
    return json.dumps(row).encode() + b"\n"


def without(name: str) -> bytes:
    return line({key: value for key, value in ROW.items() if key != name})


def chat(*turns: Any) -> bytes:
    return line(CHAT | {"prompt": list(turns)})


USER, ASSISTANT = PROMPT[0], {"role": "assistant", "content": "hm."}
ROWS: dict[str, tuple[bytes, str]] = {
    "missing key": (without("prompt") + without("chosen"), "`chosen` is missing."),
    "wrong type": (line(ROW | {"prompt": 3}), "`prompt` is a number."),
    "null": (line(ROW | {"chosen": None}), "`chosen` is null."),
    "empty string": (line(ROW | {"prompt": ""}), "`prompt` is empty."),
    "white space only": (line(ROW | {"prompt": " \n\t"}), "`prompt` has nothing but white space."),
    "chosen without rejected": (without("rejected"), "`rejected` is missing."),
    "chosen equals rejected": (line(ROW | {"rejected": "aa"}), "`chosen` equals `rejected`."),
    "no shared implicit prompt": (without("prompt"), "`chosen` shares no beginning with `rejected`"),
    "empty message list": (chat(), "`prompt` is an empty list of messages."),
    "unknown role": (chat({"role": "human", "content": "a"}), "`prompt[0].role` is 'human'."),
    "assistant first": (chat(ASSISTANT, USER), "`prompt[0]` is the assistant's, but the user speaks first."),
    "two user turns in a row": (chat(USER, USER), "`prompt[1]` is the second user turn in a row."),
    "last turn not the assistant's": (
        line(CHAT | {"chosen": [*GOOD, USER]}),
        "`chosen[1]` is the last turn and not the assistant's.",
    ),
    "content null": (chat({"role": "user", "content": None}), "`prompt[0].content` is null."),
    "content a list": (chat({"role": "user", "content": ["a"]}), "`prompt[0].content` is a list."),
    "message without a role": (chat({"content": "a"}), "`prompt[0]` has no role."),
    "invalid JSON": (b'{"prompt": ab}\n', "no valid JSON: Expecting value at column 12."),
    "truncated last line": (line(ROW).rstrip()[:-4], "no valid JSON: Unterminated string"),
    "broken UTF-8": (b'{"prompt": "\xff"}\n', "byte 13 is not UTF-8."),
    "lone surrogate": (line(ROW | {"prompt": "a\ud800"}), "`prompt` has half a surrogate pair at character 2."),
    "NUL": (line(ROW | {"prompt": "a\0"}), "`prompt` has a NUL character."),
    "types mixed across rows": (line(CHAT), "`prompt` is messages, where {file}:1 has text."),
}
"""The last line of a file whose other rows are sound, and what is told of it"""


@pytest.fixture
def preferences(tmp_path: Path) -> Path:
    """A file of sound rows, which a recipe beside it names."""
    tiny.recipe_file(tmp_path)
    return tmp_path / "preferences.jsonl"


@pytest.mark.parametrize("fault", ROWS)
def test_a_row_that_cannot_be_used_is_told_with_file_line_reason_and_hint(
    fault: str, truing: Any, preferences: Path
) -> None:
    content, told = ROWS[fault]
    number = preferences.read_bytes().count(b"\n") + content.count(b"\n") + (not content.endswith(b"\n"))
    preferences.write_bytes(preferences.read_bytes() + content)
    said = truing("validate", preferences.parent / "recipe.yaml")
    assert said.code == 2
    (complaint,) = [text for text in said.err.splitlines() if f"{preferences}:{number}: " in text]
    reason = told.format(file=preferences)
    assert reason in complaint
    assert len(complaint.partition(reason)[2]) > 10, "there is no hint"


REMARKS: dict[str, tuple[bytes, str]] = {
    "extra key": (line(ROW | {"topic": "web"}), "{file}:25: `topic` is not read."),
    "misspelt key": (line(ROW | {"margn": 1}), "{file}:25: `margn` is not read; did you mean `margin`?"),
    "a key that no terminal shows": (line(ROW | {"\x1b[31m\ud800": 1}), "{file}:25: `\\x1b[31m\\ud800` is not read."),
    "rows alike but for what is not read": (
        line(ROW | {"id": 1}) + line(ROW | {"id": 2}),
        "{file}:26: says the same as {file}:25, but in columns that are not read.",
    ),
    "rows alike but for their source": (
        line(ROW | {"source": "web"}) + line(ROW | {"source": "books"}),
        "{file}:26: says the same as {file}:25, but in columns that are not read.",
    ),
    "duplicate rows": (line(ROW) + line(ROW) * 2, "{file}:26: says the same as {file}:25; 2 rows are so."),
    "pairs that contradict each other": (
        line(ROW) + line(ROW | {"chosen": ROW["rejected"], "rejected": ROW["chosen"]}),
        "{file}:26: says the opposite of {file}:25.",
    ),
    "duplicate ids": (
        line(ROW | {"id": 7}) + line(ROW | {"prompt": "q?", "id": 7}),
        "{file}:26: has the `id` of {file}:25.",
    ),
}


@pytest.mark.parametrize("oddity", REMARKS)
def test_an_odd_row_that_can_be_used_is_remarked_on(oddity: str, truing: Any, preferences: Path) -> None:
    content, told = REMARKS[oddity]
    preferences.write_bytes(preferences.read_bytes() + content)
    said = truing("validate", preferences.parent / "recipe.yaml")
    assert said.code == 0
    assert f"data.preferences: {told.format(file=preferences)}" in said.out.splitlines()


def test_a_byte_order_mark_is_no_fault(truing: Any, preferences: Path) -> None:
    preferences.write_bytes(b"\xef\xbb\xbf" + preferences.read_bytes())
    assert truing("validate", preferences.parent / "recipe.yaml").code == 0


HEADER = b"prompt,chosen,rejected\n"
NESTED = {"prompt": [PROMPT, [None]], "chosen": [GOOD, GOOD], "rejected": [BAD, BAD]}
FILES: dict[str, tuple[str, bytes | None, str]] = {
    "none": ("p.jsonl", None, "{file}: no such file."),
    "zero rows": ("p.jsonl", b"\n\n", "{file}: there are no rows in it."),
    "one row": ("p.jsonl", line(ROW), "{file}:1: the preferences have only one prompt, too few"),
    "UTF-16": ("p.jsonl", line(ROW).decode().encode("utf-16"), "{file}: the file is UTF-16."),
    "ragged CSV": ("p.csv", HEADER + b"a,b,c\nd,e\n", "{file}:3: 2 fields where the header has 3."),
    "doubled CSV header": ("p.csv", HEADER + b"a,b,c\n" + HEADER, "{file}:3: the header stands here again."),
    "doubled CSV column": ("p.csv", b"prompt,prompt\na,b\n", "{file}:1: `prompt` stands in the header more than once."),
    "nested-null Parquet": ("p.parquet", b"", "{file} row 2: `prompt[0]` is null."),
}
"""Name and content of a file of preferences, and what is told of it"""


@pytest.mark.parametrize("fault", FILES)
def test_a_file_that_cannot_be_used_is_told_with_the_reason_and_hint(
    fault: str, truing: Any, preferences: Path
) -> None:
    name, content, told = FILES[fault]
    file = preferences.with_name(name)
    if fault == "nested-null Parquet":
        pq.write_table(pa.table(NESTED), file)
    elif content is not None:
        file.write_bytes(content)
    said = truing("validate", preferences.parent / "recipe.yaml", "--set", f"data.preferences.path={file}")
    assert said.code == 2
    assert told.format(file=file) in said.err


def test_a_row_of_a_megabyte_is_read_and_told_by_its_length(truing: Any, preferences: Path) -> None:
    preferences.write_bytes(preferences.read_bytes() + line(ROW | {"prompt": "e" * 2**20}))
    said = truing("validate", preferences.parent / "recipe.yaml")
    assert said.code == 2
    assert f"{preferences}:25 (prompt 1,048,576, which alone fills them)" in said.err


ALIKE = line({"prompt": "ab?", "chosen": "e" * 90 + "a", "rejected": "e" * 90 + "z"})
FULL = line(ROW | {"prompt": "e" * 70})


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_prompt_that_fills_the_context_is_told_with_all_rows_that_are_too_long(
    command: str, truing: Any, preferences: Path
) -> None:
    preferences.write_bytes(preferences.read_bytes() + ALIKE + FULL)
    out = ("--out", preferences.parent / "run") if command == "run" else ()
    said = truing(command, preferences.parent / "recipe.yaml", *out, "--set", "stages=[reward]")
    assert said.code == 2
    assert said.err.count("2 rows do not fit into 64 tokens: ") == 1
    assert f"{preferences}:25 (prompt 3 + chosen 92), {preferences}:26 (prompt 70, which alone fills them)." in said.err
    assert "shorten the rows or set data.too_long to drop" in said.err


@pytest.mark.usefixtures("bare")
def test_rows_that_the_recipe_leaves_out_are_named_and_counted(truing: Any, preferences: Path) -> None:
    preferences.write_bytes(preferences.read_bytes() + ALIKE + FULL)
    recipe, out = preferences.parent / "recipe.yaml", preferences.parent / "cut"
    cut = [text for change in ("stages=[reward]", "data.too_long=cut_completion") for text in ("--set", change)]
    said = truing("validate", recipe, *cut)
    assert said.code == 0
    full, alike = (text for text in said.out.splitlines() if "data.preferences: left out" in text)
    assert f"1 row does not fit into 64 tokens: {preferences}:26 (prompt 70, which alone fills them)" in full
    assert f"`chosen` and `rejected` have the same tokens once cut: {preferences}:25" in alike
    assert "set data.too_long to cut_prompt." in alike
    said = truing("run", recipe, "--out", out, *cut)
    assert said.code == 0, said.err
    result = json.loads((out / "reward" / "result.json").read_text())
    assert "1 dropped as too long, 1 dropped as identical pairs." in result["truncation"]


def test_sound_rows_of_a_file_with_faults_are_measured_too(truing: Any, preferences: Path) -> None:
    preferences.write_bytes(preferences.read_bytes() + FULL + b"oops\n")
    said = truing("validate", preferences.parent / "recipe.yaml")
    assert said.code == 2
    for told in (f"{preferences}:26: no valid JSON", f"{preferences}:25 (prompt 70, which alone fills them)"):
        assert told in said.err


def test_the_problems_of_a_recipe_are_found_with_those_of_its_files(truing: Any, preferences: Path) -> None:
    preferences.write_bytes(preferences.read_bytes() + b"oops\n")
    (preferences.parent / "base" / "model.safetensors").rename(preferences.parent / "base" / "pytorch_model.bin")
    wrong = ("sft.epochs=0", "ppo.kl.bta=1", "data.max_length=none")
    said = truing(
        "validate", preferences.parent / "recipe.yaml", *(text for change in wrong for text in ("--set", change))
    )
    assert said.code == 2
    assert said.spots[:3] == [
        ("recipe/wrong-type", "data.max_length", "--set data.max_length=none"),
        ("recipe/wrong-value", "sft.epochs", "--set sft.epochs=0"),
        ("recipe/unknown-key", "ppo.kl.bta", "--set ppo.kl.bta=1"),
    ]
    assert f"{preferences}:25" in [where for _, _, where in said.spots]
    assert "only pytorch_model.bin" in said.err
