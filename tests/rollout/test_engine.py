"""An engine may keep its hidden states to itself: what is measured of its responses stays the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import tiny
import torch

from truing.config.recipe import Recipe
from truing.models.layout import Roles, policy_roles
from truing.models.scoring import distribution_metrics, response_logprobs
from truing.rollout.engine import Drawing, Engine, Sampling
from truing.rollout.episodes import respond
from truing.rollout.local import LocalEngine


@dataclass(frozen=True)
class Elsewhere:
    """An engine as one in another process would be: tokens and their log-probabilities come back, and no states."""

    inner: LocalEngine

    def sync(self, weights: Mapping[str, torch.Tensor] | None = None) -> dict[str, float]:
        return {}

    def begin(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> Drawing:
        completions = self.inner.generate(prompts, ids, sampling, seed, purpose)
        return Drawing(lambda: [replace(one, hidden=None, prefix_states=None) for one in completions])


def _moved_roles(recipe: Recipe) -> Roles:
    """A policy that has left its reference."""
    assert recipe.base is not None
    roles = policy_roles(recipe, recipe.base, None)
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in roles.policy.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=numbers)
    return roles


@pytest.mark.parametrize(("layout", "layers"), [("shared", 1.0), ("shared", 0.5), ("separate", 1.0)])
def test_kl_entropy_and_reference_are_those_of_the_engine_with_states(
    layout: str, layers: float, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path, roles=layout, **{"lora.layers": layers, "rollout.temperature": 0.7})
    roles = _moved_roles(recipe)
    prompts = tiny.prepared(recipe).prompts(recipe).train
    local = LocalEngine(roles.policy)

    def measured(engine: Engine) -> list[torch.Tensor]:
        rollout = respond(engine, prompts, recipe, roles.base, "rollout")
        assert (rollout.states is None) == (engine is not local)
        assert (rollout.sequences.prefix_states is None) == (engine is not local or layers == 1.0)
        figures = distribution_metrics(roles.policy, roles.reference, rollout, 0.7, token_budget=40)
        with torch.no_grad():
            forced = response_logprobs(roles.policy, rollout.sequences, 0.7)
        mask = rollout.sequences.response_mask
        return [rollout.sequences.tokens, *(one[mask] for one in (*figures, rollout.logprobs, forced))]

    ours, theirs = measured(local), measured(Elsewhere(local))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert ours[2].mean() > 1e-3  # the exact KL: there is something to agree on
