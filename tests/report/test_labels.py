"""The report tells how good the labellers were whose rows the run learns from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from core.test_label_quality import ANNA, QUALITY
from report.example_run import write_run
from report.reading import Page

from truing.core.errors import RunError
from truing.core.label_quality import to_json
from truing.report import write_report


def page(root: Path, **qualities: object) -> Page:
    write_run(root, ["sft"])
    found = {f"data.{name}": quality for name, quality in qualities.items()}
    (root / "labels.json").write_text(json.dumps(found), encoding="utf-8")
    return Page(write_report(root).read_text(encoding="utf-8"))


def test_a_part_for_each_data_file_that_people_made(tmp_path: Path) -> None:
    named = replace(QUALITY, people=[replace(ANNA, name="<script>1</script>")])
    told = page(tmp_path / "run", preferences=to_json(named, "ab"), ratings=to_json(replace(QUALITY, people=[]), "cd"))
    text = told.text("labels-1")
    assert text.startswith(
        "Labels: data.preferences 1,200 votes of 1 people on 60 items, 40 of them judged by several."
    )
    assert told.tables["labels-1"]["alpha"][0] == "0.31 0.20 to 0.42"
    assert told.tables["labels-1"]["agree"][0] == "too few to tell 8 so far"
    assert told.tables["labels-1"]["<script>1</script>"][-1] == "90% 77% to 96%"
    assert "They prefer the left side." in text
    assert "Nobody stands out" in told.text("labels-2")
    assert [tag for tag, _ in told.tags].count("script") == 0
    figures = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert figures["labels"][0]["quality"]["alpha"] == {"count": 40, "value": 0.31, "ci95": [0.2, 0.42]}


def test_what_another_version_wrote_is_left_out(tmp_path: Path) -> None:
    assert "labels-1" not in page(tmp_path / "run", preferences={"alpha": 0.3}).texts


def test_a_run_without_labels_has_no_such_part(tmp_path: Path) -> None:
    assert "labels-1" not in Page(write_report(write_run(tmp_path / "run", ["sft"])).read_text(encoding="utf-8")).texts


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run", ["sft"])
    (root / "labels.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"labels\.json"):
        write_report(root)
