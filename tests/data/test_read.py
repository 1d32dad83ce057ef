import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from truing.config.sections import Source
from truing.core.errors import DataError, Problem, Problems
from truing.data.datasets import DATASETS, Dataset, read_file
from truing.data.read import RawRow, read_rows

ROWS: list[dict[str, Any]] = [
    {"prompt": "Say “hi”, twice:\n", "completion": "hi,\r\nhi"},
    {"prompt": "a\u2028b\x85c", "completion": ' "quoted" '},
    {"prompt": "ä 😀", "completion": "ü"},
]


def write_jsonl(place: Path) -> Path:
    path = place / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8", newline="")
    return path


def write_json(place: Path) -> Path:
    (place / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    return place / "rows.json"


def write_json_lines_called_json(place: Path) -> Path:
    return write_jsonl(place).rename(place / "rows.json")


def write_csv(place: Path) -> Path:
    with (place / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return place / "rows.csv"


def _parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def write_parquet(place: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), place / "rows.parquet")
    return place / "rows.parquet"


def write_saved(place: Path) -> Path:
    datasets.Dataset.from_list(ROWS).save_to_disk(place / "saved")
    return place / "saved"


def write_saved_splits(place: Path) -> Path:
    both = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    datasets.DatasetDict(both).save_to_disk(place / "saved")
    return place / "saved"


def write_plain_directory(place: Path) -> Path:
    (place / "plain").mkdir()
    write_jsonl(place).rename(place / "plain" / "train.jsonl")
    return place / "plain"


WRITERS = [
    write_jsonl,
    write_json,
    write_json_lines_called_json,
    write_csv,
    write_parquet,
    write_saved,
    write_saved_splits,
    write_plain_directory,
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


def rows_of(path: Path | str, **source: Any) -> list[RawRow]:
    """The rows. DataError with all that are broken, if any are."""
    problems, rows = Problems(str(path)), []
    for row in read_rows(Source(path=str(path), **source)):
        if isinstance(row, Problem):
            problems.add(row)
        else:
            rows.append(row)
    problems.check(DataError, more="`truing validate` tells all.")
    return rows


def values(path: Path | str, **source: Any) -> list[dict[str, object]]:
    return [row.values for row in rows_of(path, **source)]


def refused(path: Path | str, **source: Any) -> str:
    with pytest.raises(DataError) as caught:
        values(path, **source)
    assert caught.value.hint
    return str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert values(write(tmp_path)) == ROWS


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    saved = write_saved_splits(tmp_path)
    assert values(saved, split="test") == ROWS[:1]
    told = refused(saved, split="none")
    assert told.startswith(f"{saved}: the data set (subset default, split none) cannot be loaded: ")


@pytest.mark.parametrize(
    ("write", "wheres"),
    [
        (write_jsonl, ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]),
        (write_json, ["rows.json row 1", "rows.json row 2", "rows.json row 3"]),
        # The first row spans lines 2 to 4, and an empty line is a line.
        (write_csv, ["rows.csv:2", "rows.csv:5", "rows.csv:6"]),
        (write_parquet, ["rows.parquet row 1", "rows.parquet row 2", "rows.parquet row 3"]),
        (write_saved, ["saved row 1", "saved row 2", "saved row 3"]),
    ],
)
def test_rows_know_where_they_stand(tmp_path: Path, write: Callable[[Path], Path], wheres: list[str]) -> None:
    rows = rows_of(write(tmp_path))
    assert [row.where for row in rows] == [f"{tmp_path}/{where}" for where in wheres]


@pytest.mark.parametrize("write", WRITERS)
def test_only_csv_has_no_types(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    assert {row.typed for row in rows_of(write(tmp_path))} == {write is not write_csv}


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_keys_that_a_table_adds_to_the_records_in_it_are_left_out(form: str, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = [{"name": "f", "arguments": {"city": "x"}}, {"name": "g", "arguments": {"zip": 7}}]
    rows = [
        {"messages": [{"role": "assistant", "content": "so", "tool_calls": [call]}], "margin": None} for call in calls
    ]
    table = datasets.Dataset.from_list(rows)
    path = tmp_path / f"rows.{form}"
    table.to_parquet(path) if form == "parquet" else table.save_to_disk(path)
    assert table[0]["messages"][0]["tool_calls"][0]["arguments"] == {"city": "x", "zip": None}  # so the library has it
    assert [row.values for row in rows_of(path)] == rows


@pytest.mark.parametrize("name", ["r.jsonl", "r.json"])
def test_blank_lines_byte_order_marks_and_line_ends_of_windows_are_no_fault(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    rows = rows_of(tmp_path / name)
    assert [(row.values, row.where[-2:]) for row in rows] == [({"a": 1}, ":1"), ({"a": 2}, ":4")]


@pytest.mark.parametrize("line", ["\r\n", "\n"])
def test_csv_of_other_makers(tmp_path: Path, line: str) -> None:
    text = f'\ufeffprompt,n{line}"two{line}lines, ""quoted""",1{line}{line}c,{line}'
    (tmp_path / "r.csv").write_bytes(text.encode())
    rows = rows_of(tmp_path / "r.csv")
    assert [row.values for row in rows] == [
        {"prompt": f'two{line}lines, "quoted"', "n": "1"},
        {"prompt": "c", "n": ""},
    ]
    assert [row.where.rpartition(":")[2] for row in rows] == ["2", "5"]


def test_a_sign_in_the_quoted_header_of_one_column_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text('"prompt; or\tmessage"\n"a; b"\n')
    assert values(tmp_path / "r.csv") == [{"prompt; or\tmessage": "a; b"}]


@pytest.mark.parametrize("name", ["r.jsonl", "63"])
def test_a_pipe_is_told_as_what_it_is_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert refused(tmp_path / name).startswith(f"{tmp_path / name}: is a pipe or a device, and rows are read more")


def test_a_long_field_of_csv_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("prompt\n" + "x" * 200_000)
    assert values(tmp_path / "r.csv") == [{"prompt": "x" * 200_000}]


ONE_ROW = b'{"prompt": "a"}\n'


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (
            "r.jsonl",
            ONE_ROW + b'{"prompt": "b',
            "r.jsonl:2: no valid JSON: Unterminated string starting at column 12.",
        ),
        ("r.jsonl", ONE_ROW + b'{"prompt": "b"', "r.jsonl:2: no valid JSON: Expecting ',' delimiter at column 15."),
        ("r.jsonl", ONE_ROW + b'{"prompt": "b"\r\n', "r.jsonl:2: no valid JSON: Expecting ',' delimiter at column 15."),
        ("r.jsonl", b'{"a": 1, "b": {"c": 2, "c": 2}}', "r.jsonl:1: no valid JSON: the key 'c' stands "),
        ("r.json", b'[{"a": 1, "a": 2}]', "r.json: no valid JSON: the key 'a' stands in one object more than once."),
        ("r.json", b'[{"a": 1},\n {"a": }]', "r.json: no valid JSON: Expecting value at line 2, column 8."),
        ("r.jsonl", ONE_ROW + b"[1]\n", "r.jsonl:2: the row is not a JSON object."),
        ("r.jsonl", ONE_ROW + b"null\n", "r.jsonl:2: the row is not a JSON object."),
        ("r.jsonl", ONE_ROW + b'{"prompt": "\xff"}\n', "r.jsonl:2: byte 13 is not UTF-8. Save the file as UTF-8."),
        ("r.jsonl", b"[" * 100_000, "r.jsonl:1: no valid JSON: nested too deeply."),
        ("r.jsonl", '{"a": 1}'.encode("utf-16"), "r.jsonl: the file is UTF-16. Save it as UTF-8."),
        ("r.csv", "prompt\na".encode("utf-16"), "r.csv: the file is UTF-16. Save it as UTF-8."),
        ("r.json", '[{"a": 1}]'.encode("utf-16"), "r.json: the file is UTF-16. Save it as UTF-8."),
        ("r.jsonl", gzip.compress(ONE_ROW, mtime=0), "r.jsonl: the file is compressed. Unpack it."),
        ("r.json", b"PK\x03\x04\x14", "r.json: the file is a zip archive, as spreadsheets are. Unpack it, or save"),
        ("r.csv", _parquet(), "r.csv: the file is Parquet. Call it .parquet."),
        ("r.csv", b"prompt;completion\na;b\n", "r.csv:1: its fields are separated by ';', where CSV has commas."),
        ("r.csv", b"prompt\tcompletion\na\tb\n", "r.csv:1: its fields are separated by '\\t', where CSV has commas."),
        ("r.csv", b'\n"prompt";"b"\na;b\n', "r.csv:2: its fields are separated by ';', where CSV has commas."),
        (
            "r.json",
            b'[{"a": 1}, {',
            "r.json: no valid JSON: Expecting property name enclosed in double quotes at column",
        ),
        ("r.json", b'[{"a": "\xff"}]', "r.json: byte 9 is not UTF-8. Save the file as UTF-8."),
        ("r.json", b'[{"a": 1}, 2]', "r.json row 2: the row is not a JSON object."),
        ("r.csv", b"a,b\n1,2\n3\n", "r.csv:3: 1 field where the header has 2."),
        ("r.csv", b"a,b\n1,2\n3,4,5\n", "r.csv:3: 3 fields where the header has 2."),
        ("r.csv", b"a,a\n1,2\n", "r.csv:1: `a` stands in the header more than once."),
        ("r.csv", b'a\n1\n"never\nclosed\n', "r.csv:3: no valid CSV: unexpected end of data."),
        ("r.csv", b"a\n1\n\xff\n", "r.csv:3: byte 1 is not UTF-8."),
        ("r.parquet", b"PAR1 no more", "r.parquet row 1: cannot be read as Parquet: "),
        *((f"r{suffix}", b"", f"r{suffix}: there are no rows in it.") for suffix in (".jsonl", ".json", ".csv")),
        ("r.json", b"[]", "r.json: there are no rows in it."),
        ("r.csv", b"a,b\n", "r.csv: there are no rows in it."),
        ("r.txt", b"x", "r.txt: .txt is not a format for rows. Use .jsonl, .json, .csv, .parquet."),
        ("rows", b"x", "rows: a file without a suffix is not a format for rows."),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert refused(tmp_path / name).removeprefix(f"{tmp_path}/").startswith(complaint)


def test_a_missing_file_is_not_looked_for_on_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", None)
    monkeypatch.chdir(tmp_path)
    hint = f"no such file. Paths start at {tmp_path}; check the spelling."
    for path in ("rows.jsonl", str(tmp_path / "rows"), "some/deep/rows"):
        assert refused(path) == f"{path}: {hint}"


def test_a_hub_data_set_that_cannot_be_had_is_named() -> None:
    told = refused("org/rows", subset="small", split="test")
    assert told.startswith("org/rows: the data set (subset small, split test) cannot be loaded: ")
    assert told.endswith("Check the path or Hub id, its subset and split, and the network.")


def test_all_broken_rows_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"oops\n" * 30)
    with pytest.raises(DataError) as caught:
        values(path)
    first, *told, last = str(caught.value).splitlines()
    assert first == f"{path}: 30 problems."
    assert [line.strip().split(": ")[0] for line in told] == [f"{path}:{number}" for number in range(2, 22)]
    assert last == "  ... and 10 more. `truing validate` tells all."


def test_broken_rows_stand_between_those_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(b'{"a": 1}\noops\n{"a": 2}\n[')
    rows = read_rows(Source(path=str(tmp_path / "r.jsonl")))
    assert [row.where[-2:] if isinstance(row, Problem) else row.values for row in rows] == [
        {"a": 1},
        ":2",
        {"a": 2},
        ":4",
    ]


def test_what_ends_the_reading_is_told_with_the_faulty_rows_before_it(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"prompt\n  \na\n\xff\nb\n")
    dataset = Dataset(DATASETS["prompts"], Problems(str(path)))
    read_file(Source(path=str(path)), [dataset])
    assert [(problem.where, problem.code) for problem in dataset.problems.described] == [
        (f"{path}:2", "data/blank-text"),
        (f"{path}:4", "data/not-utf-8"),
    ]
    assert not dataset.is_sound
