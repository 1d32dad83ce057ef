from pathlib import Path
from typing import Any

import pytest

from truing.report.portable import portable


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/runs/mine/world/base", "world/base"),
        ("/home/somebody/models/pythia", "pythia"),
        (r"C:\Users\somebody\models\pythia", "pythia"),
        ("/home/somebody/judge.py:polite", "judge.py:polite"),
        ("owner/name", "owner/name"),
        ("data/rows.jsonl", "data/rows.jsonl"),
        ("/", "/"),
        ("/no\npath", "/no\npath"),
        ({"a": ["/x/y", 1, None, True]}, {"a": ["y", 1, None, True]}),
    ],
)
def test_absolute_paths_are_cut_and_nothing_else(value: Any, shown: Any) -> None:
    assert portable(value, Path("/runs/mine")) == shown
