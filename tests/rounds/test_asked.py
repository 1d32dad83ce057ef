"""What people are asked is kept as models answered it."""

from pathlib import Path

import pytest

from truing.core.errors import DataError
from truing.core.records import Message
from truing.labelling.items import Item
from truing.rounds.asking import ScoredItem, read_asked, write_asked

TURNS = '[{"role": "tool", "content": 3}]'


@pytest.mark.parametrize("answer", ["", " ", "a\0", TURNS, "\u2028", "\ud800"])
def test_whatever_a_model_answers_is_read_as_it_was_written(tmp_path: Path, answer: str) -> None:
    """A policy that has learnt to say nothing is compared too: else a round would never end."""
    prompt = (Message("user", "Why?"),)
    asked = [
        ScoredItem(Item(prompt, ("So.", answer), ("start", "round 1"), kind="heldout"), None),
        ScoredItem(Item(TURNS, (answer, "So."), ("start", "round 1"), kind="chosen", teaches=0.5), [1.0, 2.0]),
    ]
    write_asked(tmp_path / "asked.jsonl", asked)
    assert read_asked(tmp_path / "asked.jsonl") == asked


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": "a", "answers": ["b"], "sources": [], "kind": "chosen"}',
        '{"prompt": "a", "answers": ["b", 3], "sources": ["c", "d"], "kind": "chosen"}',
        '{"prompt": "a", "answers": ["b", "c"], "kind": "chosen"}',
    ],
)
def test_a_line_that_asks_nothing_is_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "asked.jsonl").write_text(row + "\n")
    with pytest.raises(DataError) as refused:
        read_asked(tmp_path / "asked.jsonl")
    assert refused.value.code == "data/nothing-asked"
