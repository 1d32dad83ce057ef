"""The lengths that the benchmarks force are those of truing's own sampler, whatever that becomes."""

from pathlib import Path

import pytest
import tiny
from ppo.ours import forced

from truing.data.encode import EncodedPrompt
from truing.models.layout import policy_roles
from truing.rollout.episodes import respond
from truing.rollout.local import LocalEngine

LENGTHS = [4, 1, 6, 3, 6]


@pytest.mark.parametrize("rows", [2, 8])
def test_responses_have_exactly_the_forced_lengths(tmp_path: Path, rows: int):
    recipe = tiny.recipe(tmp_path, **{"rollout.max_new_tokens": 6, "compute.rollout_rows": rows})
    assert recipe.base is not None
    roles = policy_roles(recipe, recipe.base, None)
    roles.base.tokenizer.pad_token = tiny.EOS  # the last token of the vocabulary, which becomes the eos, was its pad
    prompts = [EncodedPrompt("", (1 + i, 2, 3)) for i in range(len(LENGTHS))]
    with forced(LENGTHS, roles):
        said = respond(LocalEngine(roles.policy), prompts, recipe, roles.base, "rollout")
    assert said.sequences.response_lengths.tolist() == LENGTHS
