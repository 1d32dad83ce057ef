"""A run keeps how good the labellers were whose rows it learns from, and no figures of other rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from core.test_label_quality import QUALITY

from truing.core.label_quality import to_json
from truing.pipeline.label_quality import keep_label_quality
from truing.runs.directory import RunDirectory
from truing.runs.files import sha256_file
from truing.runs.lineage import fingerprint


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Exported rows, and how good the labellers were beside them."""
    rows = tiny.write_rows(tmp_path / "labels.jsonl", tiny.preferences())
    write(tmp_path / "labels.quality.json", to_json(QUALITY, sha256_file(rows)))
    return rows


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def kept(run: RunDirectory) -> Any:
    return json.loads(run.label_quality.read_text(encoding="utf-8")) if run.label_quality.exists() else None


def test_what_lies_beside_the_rows_is_copied_once(tmp_path: Path, labels: Path) -> None:
    run = RunDirectory(tmp_path)
    inputs = {"data.preferences": fingerprint(str(labels)), "base": fingerprint("owner/name")}
    beside = json.loads(labels.with_suffix(".quality.json").read_text(encoding="utf-8"))
    assert keep_label_quality(run, inputs) == []
    assert kept(run) == {"data.preferences": beside}
    write(labels.with_suffix(".quality.json"), beside | {"votes": 7})
    assert keep_label_quality(run, inputs) == []
    assert kept(run) == {"data.preferences": beside}, "as it was when the run began"


def test_figures_of_other_rows_are_left_out_and_named(tmp_path: Path, labels: Path) -> None:
    tiny.write_rows(labels, tiny.preferences()[1:])
    run = RunDirectory(tmp_path)
    assert keep_label_quality(run, {"data.preferences": fingerprint(str(labels))}) == [tmp_path / "labels.quality.json"]
    assert kept(run) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_what_cannot_be_read_stops_no_run(tmp_path: Path, labels: Path, text: str) -> None:
    labels.with_suffix(".quality.json").write_text(text, encoding="utf-8")
    run = RunDirectory(tmp_path)
    assert keep_label_quality(run, {"data.preferences": fingerprint(str(labels))}) != []
    assert kept(run) is None


def test_rows_without_figures_and_what_is_no_data_leave_nothing(tmp_path: Path, labels: Path) -> None:
    run = RunDirectory(tmp_path)
    rows = tiny.write_rows(tmp_path / "rows.jsonl", tiny.preferences())
    inputs = {
        "data.preferences": fingerprint(str(rows)),
        "evaluation.judges.taste": fingerprint(str(labels)),
        "data.prompts": fingerprint("owner/name"),
    }
    assert keep_label_quality(run, inputs) == []
    assert kept(run) is None
