"""The figures on labels: what is written is read again, and what is nothing of the kind is not; what they say."""

import json
from pathlib import Path
from typing import Any

import pytest

from truing.core.label_figures import figures, heads, rows
from truing.core.label_quality import (
    Behaviour,
    Estimate,
    Labeller,
    LabelQuality,
    describes,
    from_json,
    quality_file,
    to_json,
)

ANNA = Labeller(
    "labeller 1",
    votes=1200,
    seconds=None,
    agreement=Estimate(40, 0.725, (0.6, 0.82)),
    alpha_without=-0.054,
    slope=Estimate(40, 0.5, (-0.25, 1.25)),
    behaviour=Behaviour(left=Estimate(40, 0.9, (0.77, 0.96)), controls=Estimate(4)),
    findings=["They prefer the left side."],
)
QUALITY = LabelQuality(
    "pairs",
    1200,
    60,
    40,
    Estimate(40, 0.31, (0.2, 0.42)),
    *[Estimate(8)] * 4,
    Behaviour(left=ANNA.behaviour.left),
    [ANNA],
)


def test_what_is_written_is_read_again() -> None:
    written = json.loads(json.dumps(to_json(QUALITY, "ab")))
    assert from_json(written) == QUALITY
    assert (describes(written, "ab"), describes(written, "cd"), describes([], "ab")) == (True, False, False)


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        "text",
        {"mode": "pairs"},
        {**to_json(QUALITY, ""), "votes": "many"},
        {**to_json(QUALITY, ""), "mode": "x"},
    ],
)
def test_what_is_nothing_of_the_kind_is_not_read(found: Any) -> None:
    assert from_json(found) is None


def test_a_figure_that_is_no_number_is_not_read() -> None:
    written = to_json(QUALITY, "")
    written["alpha"]["value"] = float("nan")
    assert from_json(written) is None


def test_where_they_lie() -> None:
    assert quality_file(Path("a/labels.jsonl")) == Path("a/labels.quality.json")


def test_every_figure_has_its_interval_or_says_that_there_is_too_little() -> None:
    told = {figure.title: (figure.shown.value, figure.shown.ends) for figure in figures(QUALITY)}
    assert told == {
        "alpha": ("0.31", "0.20 to 0.42"),
        "alpha, drawn at random": ("too few to tell", "8 so far"),
        "agree": ("too few to tell", "8 so far"),
        "agree, quick votes": ("too few to tell", "8 so far"),
        "agree, slow votes": ("too few to tell", "8 so far"),
        "left": ("90%", "77% to 96%"),
    }
    assert [head.title for head in heads(QUALITY)] == ["votes", "seconds", "agree", "without", "follows", "left"]
    (row,) = rows(QUALITY)
    assert [cell.value for cell in row.cells] == ["1,200", "–", "72%", "−0.05", "0.50", "90%"]
    assert row.cells[4].ends == "−0.25 to 1.25"
    assert row.findings == ANNA.findings
