import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from truing.core.errors import RunError, TrainingError
from truing.runs.metrics import JsonLines, read_jsonl, read_metrics, read_samples

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
rows = st.dictionaries(
    st.text(), st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)


@given(written=st.lists(rows, max_size=5))
def test_rows_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    with JsonLines(path) as lines:
        for row in written:
            lines.append(row)
    assert path.read_bytes().count(b"\n") == len(written)
    assert repr(read_jsonl(path)) == repr(written)  # repr tells 1 from 1.0 and True, and 0.0 from -0.0


def test_a_line_is_there_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "metrics.jsonl") as lines:
        lines.append({"step": 1, "loss": 0.1 + 0.2})
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.30000000000000004}\n'


def test_opening_begins_anew(tmp_path: Path) -> None:
    for step in (1, 2):
        with JsonLines(tmp_path / "metrics.jsonl") as lines:
            lines.append({"step": step})
    assert read_jsonl(tmp_path / "metrics.jsonl") == [{"step": 2}]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_names_step_and_key(tmp_path: Path, value: float) -> None:
    (tmp_path / "ppo").mkdir()
    with JsonLines(tmp_path / "ppo" / "samples.jsonl") as lines:
        lines.append({"step": 6})
        with pytest.raises(TrainingError, match=rf"ppo step 7: judges\.gold is {value}, not a finite number"):
            lines.append({"step": 7, "score": 1.0, "judges": {"gold": value}})
    assert read_jsonl(tmp_path / "ppo" / "samples.jsonl") == [{"step": 6}]


@pytest.mark.parametrize("value", [torch.tensor(0.5), np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True)])
def test_tensors_and_numpy_scalars_are_refused(tmp_path: Path, value: object) -> None:
    with JsonLines(tmp_path / "metrics.jsonl") as lines, pytest.raises(TypeError, match=r"loss is a (torch|numpy)"):
        lines.append({"step": 1, "loss": value})
    assert read_jsonl(tmp_path / "metrics.jsonl") == []


def test_a_line_cut_short_is_left_out_wherever_the_cut_is(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = '{"step": 1}\n{"step": 2, "text": "{ä}"}'.encode()
    for length in range(12, len(whole)):
        path.write_bytes(whole[:length])
        assert read_jsonl(path) == [{"step": 1}]
    path.write_bytes(whole)
    assert read_jsonl(path) == [{"step": 1}, {"step": 2, "text": "{ä}"}]


@pytest.mark.parametrize("line", [b"{", b"[1]", b"", b"\xff"])
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "m.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"m\.jsonl:2: is no JSON"):
        read_jsonl(tmp_path / "m.jsonl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"m\.jsonl: cannot be read"):
        read_jsonl(tmp_path / "m.jsonl")
    with pytest.raises(RunError, match=r"m\.jsonl: cannot be written"):
        JsonLines(tmp_path / "none" / "m.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_run_error() -> None:
    lines = JsonLines(Path("/dev/full"))
    with pytest.raises(RunError, match="no space left"):
        lines.append({"step": 1})
    lines.close()


def test_lines_go_on_from_a_cursor_and_later_ones_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with JsonLines(path) as lines:
        lines.append({"step": 1, "text": "ä"})
        cursor = lines.cursor
        lines.append({"step": 2, "much": "more"})
    assert cursor == len('{"step": 1, "text": "ä"}\n'.encode())
    with JsonLines(path, keep=cursor) as lines:
        lines.append({"step": 2})
    assert read_jsonl(path) == [{"step": 1, "text": "ä"}, {"step": 2}]


def test_a_file_shorter_than_its_cursor_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("{}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl: has lost lines: 3 bytes are left, and .* 100\. .*--fork-to"):
        JsonLines(path, keep=100)
    assert path.read_text() == "{}\n"


def test_a_file_that_should_go_on_and_is_missing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(RunError, match=r"metrics\.jsonl: is missing, and the last checkpoint .*--fork-to NEW"):
        JsonLines(path, keep=100)
    assert not path.exists()


SAMPLE = {"step": 0, "prompt": "p", "response": "r", "kl": 0.1, "length": 3, "finished": True, "judges": {"gold": None}}


@pytest.mark.parametrize("value", [None, [1], 1e999])
@pytest.mark.parametrize("key", SAMPLE)
def test_a_sample_that_no_run_writes_is_named_with_its_line(key: str, value: Any, tmp_path: Path) -> None:
    lines = [SAMPLE, SAMPLE | {"score": 0.5, "parts": {}}, SAMPLE | {key: value}]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    assert read_samples(path) == lines[:2]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match=rf"samples\.jsonl:3: {key} is not what a run writes"):
        read_samples(path)


def test_a_metric_that_no_run_writes_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.5, "none": null}\n{"step": 2, "loss": [1]}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: loss\S* is not what a run writes"):
        read_metrics(path)
