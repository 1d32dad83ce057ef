"""Lengths are those of the rows that the stages learn from."""

from pathlib import Path

import tiny

from truing.doctor.lengths import read_lengths
from truing.models.load import outline_base


def test_lengths_are_those_of_the_rows_that_are_learnt_from(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    assert recipe.base is not None
    lengths = read_lengths(recipe, outline_base(recipe.base, recipe.compute))
    assert len(lengths.demonstrations) == 24 - 2  # a tenth is held out
    assert {response for ((_, response),) in lengths.demonstrations} == {len("aha.") + 1}  # and eos
    assert {len(pair) for pair in lengths.preferences} == {2}
    assert len(lengths.prompts) == recipe.ppo.updates * recipe.ppo.episodes
    only_sft = recipe.model_copy(update={"stages": ["sft"]})
    assert read_lengths(only_sft, outline_base(recipe.base, recipe.compute)).prompts == []
