"""What people are asked is kept as models answered it."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from rounds.collecting import settings

from truing.core.errors import DataError
from truing.core.records import Message
from truing.labelling.items import Item
from truing.rollout.local import LocalEngine
from truing.rounds.asking import ScoredItem, ask, read_asked, write_asked
from truing.rounds.directory import RoundsDirectory

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


def test_a_prompt_is_asked_as_the_run_asks_it_cut_where_that_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole it would not fit into what the model reads, which has embeddings for 64 positions."""
    asked: list[tuple[int, ...]] = []
    generate = LocalEngine.generate

    def noted(engine: LocalEngine, prompts: list[tuple[int, ...]], *given: Any) -> Any:
        asked.extend(prompts)
        return generate(engine, prompts, *given)

    monkeypatch.setattr(LocalEngine, "generate", noted)
    texts = [f"{letter} " + "so it goes on and on " * 4 + letter for letter in "abcdefgh"]
    rows = tiny.write_rows(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])
    cut = {"data.too_long": "cut_prompt", "data.max_length": 32, "rollout.max_new_tokens": 6}
    changes = {"stages": ["dpo"], "data.prompts": {"path": str(rows)}, "evaluation.prompts": 2} | cut
    directory = RoundsDirectory(tmp_path / "rounds")
    directory.asked(1).parent.mkdir(parents=True)
    ask(directory, tiny.recipe(tmp_path, "gpt2", **changes), settings(), 1)
    ends = {tuple(map(tiny.LETTERS.index, text[-26:])) for text in texts}
    assert len(set(asked)) == 6
    assert set(asked) <= ends
    assert {one.item.prompt for one in read_asked(directory.asked(1))} <= set(texts)
