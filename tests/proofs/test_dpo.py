"""DPO has PPO's optimum where it sees every pair with the chance that either side wins, and not from finite labels."""

import numpy as np
import pytest
import torch
from proofs.enumerable import PAD, PROMPT, RESPONSES, Tabular, World, make_world, total_variation

from truing.config.algorithms import Dpo
from truing.core.batches import PairBatch, Sequences
from truing.models.roles import Role
from truing.models.scoring import sequence_logprobs
from truing.stages.dpo import ReferencedPairs, preference_loss

WORLD = make_world(seed=11)


def fit(world: World, chosen: np.ndarray, rejected: np.ndarray, flipped: np.ndarray, beta: float) -> np.ndarray:
    """(responses,) log π that minimises the stage's loss on pairs of responses, given as indices."""
    policy, reference = Role(Tabular(world.ref_logits)), Role(Tabular(world.ref_logits))
    sides = [_sequences(chosen), _sequences(rejected)]
    with torch.no_grad():
        kept = [sequence_logprobs(reference, side) for side in sides]
    pairs = ReferencedPairs(PairBatch(*sides, torch.zeros(len(chosen))), *kept)
    smoothing = torch.tensor(flipped, dtype=torch.float32)  # one for each pair, which no recipe can say
    settings = Dpo(beta=beta).model_copy(update={"label_smoothing": smoothing})
    optimiser = torch.optim.LBFGS(policy.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value, _ = preference_loss(policy, pairs, settings)
        value.backward()
        return value

    optimiser.step(loss)
    return world.logprobs(policy.model.table)


def _sequences(indices: np.ndarray) -> Sequences:
    return Sequences.collate([[PROMPT]] * len(indices), [RESPONSES[index] for index in indices], PAD)


def _chance(world: World, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """That the first wins: σ(r(first) − r(second)), Bradley-Terry."""
    return 1 / (1 + np.exp(world.rewards[second] - world.rewards[first]))


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_every_pair_with_its_chances_leads_to_the_optimum_of_ppo(beta: float) -> None:
    assert total_variation(enumerated(WORLD, beta), WORLD.optimum(beta)) < 0.001


def test_finite_labels_lead_elsewhere() -> None:
    """With few labels some pairs were only ever won by one side, and nothing holds their ratio back."""
    assert total_variation(finite(WORLD, 1.0, pairs=2000), WORLD.optimum(1.0)) > 0.5


def enumerated(world: World, beta: float) -> np.ndarray:
    """What DPO makes of every pair of responses, labelled with the chances of either side."""
    first, second = np.triu_indices(len(RESPONSES), k=1)
    return fit(world, first, second, 1 - _chance(world, first, second), beta)


def finite(world: World, beta: float, pairs: int, seed: int = 0) -> np.ndarray:
    """What DPO makes of labels drawn once for pairs of the reference's own responses."""
    random = np.random.default_rng(seed)
    chances = np.exp(world.ref_logprobs)
    first, second = random.choice(len(RESPONSES), size=(2, pairs), p=chances / chances.sum())
    first, second = first[first != second], second[first != second]
    won = random.random(len(first)) < _chance(world, first, second)
    chosen, rejected = np.where(won, first, second), np.where(won, second, first)
    return fit(world, chosen, rejected, np.zeros(len(chosen)), beta)
