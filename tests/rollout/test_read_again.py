"""In narrow numbers, π_old is what the learner computes of the tokens, not what sampling did."""

from pathlib import Path

import pytest
import tiny
import torch

from truing.config.variants import with_changes
from truing.models.layout import ppo_roles
from truing.models.scoring import response_logprobs
from truing.pipeline.execute import run_pipeline
from truing.rollout.episodes import respond
from truing.rollout.local import LocalEngine
from truing.rollout.selection import open_engine
from truing.runs.metrics import read_jsonl
from truing.runs.progress import SilentProgress


@pytest.mark.parametrize("layers", [1.0, 0.5])
def test_old_log_probabilities_are_those_of_learning(layers: float, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"compute.dtype": "bfloat16", "lora.layers": layers})
    assert recipe.base is not None
    roles, prompts = ppo_roles(recipe, recipe.base, None), tiny.prepared(recipe).prompts(recipe).train[:6]
    with open_engine(recipe, roles.policy, roles.base, prompts, tmp_path) as engine:
        rollout = respond(engine, prompts, recipe, roles.base, "rollout")
    drawn = respond(LocalEngine(roles.policy), prompts, recipe, roles.base, "rollout")
    assert torch.equal(rollout.sequences.tokens, drawn.sequences.tokens)
    assert rollout.engine_logprobs is not None
    assert torch.equal(rollout.engine_logprobs, drawn.logprobs)
    with torch.no_grad():
        own = response_logprobs(roles.policy, rollout.sequences)
    mask = rollout.sequences.response_mask
    assert torch.equal(rollout.logprobs[mask], own[mask])
    assert 0 < float((rollout.logprobs - drawn.logprobs)[mask].abs().max()) < 0.05


def test_single_precision_is_not_read_again_and_a_run_in_bfloat16_says_how_far_the_two_are_apart(
    tmp_path: Path,
) -> None:
    recipe = tiny.recipe(tmp_path)
    assert recipe.base is not None
    roles = ppo_roles(recipe, recipe.base, None)
    with open_engine(recipe, roles.policy, roles.base, [], tmp_path) as engine:
        assert isinstance(engine, LocalEngine)
    stages = {"stages": ["reward", "ppo"], "compute.dtype": "bfloat16", "ppo.updates": 1}
    run = run_pipeline(with_changes(recipe, stages), tmp_path / "run", SilentProgress())
    (_, update) = read_jsonl(run.stage("ppo").metrics)
    assert 0 < update["engine_mismatch"] < 0.05
