"""A dry run learns from the recipe's own rows: those of the heaviest step."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from truing.config.sections import Source
from truing.core.errors import DataError
from truing.estimate.rows import heaviest, heaviest_rows


def test_the_heaviest_batch_and_the_longest_row_are_taken() -> None:
    lengths = [1] * 50 + [100]
    chosen = heaviest(lengths, 4, seed=3)
    assert len(chosen) == 4
    assert sum(lengths[row] for row in chosen) == 103
    lengths = [5, 6, 7, 8]
    assert sorted(heaviest(lengths, 100, seed=3)) == [0, 1, 2, 3]


def test_rows_are_those_of_a_step_and_of_an_evaluation(tmp_path: Path) -> None:
    sizes = {"sft.batch_size": 5, "reward.batch_size": 6, "dpo.batch_size": 7}
    recipe = tiny.recipe(tmp_path, stages=["sft", "reward", "ppo", "dpo"], **sizes)
    found = heaviest_rows(recipe, tiny.prepared(recipe)).rows
    assert len(found.demonstrations(recipe).train) == 5
    assert len(found.preferences(recipe).train) == 7  # of dpo, which takes more of them than reward does
    prompts = found.prompts(recipe)
    assert len(prompts.heldout) == 4
    assert len(prompts.train) == 8 + 7  # a round, and what dpo may have seen


def test_the_average_row_is_a_share_of_those(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n:02}".translate(str.maketrans("0123456789", "abcdefghij")), "completion": "e" * length}
        for n, length in enumerate([1] * 18 + [9] * 2)
    ]
    own = tiny.write_rows(tmp_path / "own.jsonl", rows)
    heldout = tiny.write_rows(tmp_path / "heldout.jsonl", [{"prompt": "zz", "completion": "e"}])
    files = {
        "data.demonstrations.path": str(own),
        "data.heldout_demonstrations": Source(path=str(heldout)).model_dump(),
    }
    recipe = tiny.recipe(tmp_path, stages=["sft"], **{"sft.batch_size": 1}, **files)
    found = heaviest_rows(recipe, tiny.prepared(recipe))
    each = 2 + 1  # prompt and eos
    assert found.typical == {"sft": pytest.approx((each + (18 * 1 + 2 * 9) / 20) / (each + 9))}
    assert found.counts == {"sft": 20}
    assert found.tokens_of_text(recipe, "sft") == each + 9


def test_a_stage_without_rows_is_refused(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    whole = tiny.prepared(recipe)
    without = replace(whole, rows={}, texts=[])
    with pytest.raises(DataError, match="names no demonstrations"):
        heaviest_rows(recipe, without)
