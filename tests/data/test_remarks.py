"""What rows say against each other."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.sections import Source
from truing.core.errors import Problems
from truing.core.records import Preference, Rating
from truing.data.datasets import DATASETS, Dataset, read_file
from truing.data.remarks import opposites

ASKED, SAID, OTHER = ({"role": "assistant" if text > "a" else "user", "content": text} for text in "abc")


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("prompts", {"prompt": "a", "answer": "b"}, "`answer` is not read."),
        ("demonstrations", {"prompt": "a", "completion": "b", "better": "c"}, "`better` is not read."),
        ("demonstrations", {"": "0", "prompt": "a", "completion": "b"}, "a column without a name is not read."),
        ("demonstrations", {"prompt": "a", "completion": "b", "margin": 1}, "`margin` is not read."),
        ("preferences", {"chosen": [ASKED, SAID], "rejected": [ASKED, OTHER], "promt": "a"}, "did you mean `prompt`?"),
        ("preferences", {"prompt": "a", "chosen": "b", "rejected": "c", "margn": 1}, "; did you mean `margin`?"),
    ],
)
def test_a_column_is_taken_for_a_misspelt_one_only_where_that_would_be_read(
    name: str, row: dict[str, Any], told: str, tmp_path: Path
) -> None:
    file = tiny.write_rows(tmp_path / "rows.jsonl", [row])
    dataset = Dataset(DATASETS[name], Problems(str(file)))
    read_file(Source(path=str(file)), [dataset], thorough=True)
    assert dataset.is_sound
    (oddity,) = dataset.oddities
    assert oddity.endswith(told)


def test_a_question_needs_no_further_stop_and_rows_are_counted_behind_it(tmp_path: Path) -> None:
    rows = [{"prompt": text, "chosen": "b", "rejected": "c", "margn": 1} for text in "ab"]
    dataset = Dataset(DATASETS["preferences"], Problems("rows"))
    read_file(Source(path=str(tiny.write_rows(tmp_path / "rows.jsonl", rows))), [dataset], thorough=True)
    (oddity,) = dataset.oddities
    assert oddity.endswith("`margn` is not read; did you mean `margin`? 2 rows are so.")


def test_pairs_and_ratings_that_contradict_each_other_are_told() -> None:
    assert opposites([Preference("p", "a", "b", "f:1"), Preference("p", "b", "a", "f:2")]) == [
        "f:2: says the opposite of f:1."
    ]
    ratings = [Rating("p", "a", True, "f:1"), Rating("p", "b", False, "f:2"), Rating("p", "a", False, "f:3")]
    assert opposites(ratings) == ["f:3: says the opposite of f:1."]


def test_what_is_said_twice_or_of_another_prompt_is_no_contradiction() -> None:
    assert (
        opposites([Rating("p", "a", True, "f:1"), Rating("p", "a", True, "f:2"), Rating("q", "a", False, "f:3")]) == []
    )
