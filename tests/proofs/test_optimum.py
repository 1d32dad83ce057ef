"""PPO reaches the policy that its objective is known to have as its optimum, π*(y) ∝ π_ref(y)·exp(r(y)/β)."""

import numpy as np
import pytest
from proofs.enumerable import kl, make_world, total_variation
from proofs.solve import FEWER, Solution, apart_after_one_update, expected_distinct, solve

from truing.kernels import vocabulary

# In units of the reward's deviation; temperature and offset are there to be got wrong.
PROOF = make_world(seed=11, temperature=0.8)
LIMITS = {1.0: 0.005, 0.3: 0.04, 0.1: 0.03}
UPDATES = {1.0: 80, 0.3: 200, 0.1: 100}
EPOCHS = 2
"""Of each update: with four it is half as much work again, and ends no nearer"""


@pytest.fixture(scope="module", params=[1.0, pytest.param(0.3, marks=pytest.mark.slow), 0.1])
def solved(request: pytest.FixtureRequest) -> tuple[float, Solution]:
    return request.param, solve(PROOF, request.param, UPDATES[request.param], epochs=EPOCHS, episodes=FEWER)


def test_the_optimum_is_reached(solved: tuple[float, Solution]) -> None:
    beta, solution = solved
    assert total_variation(solution.logprobs, PROOF.optimum(beta)) <= LIMITS[beta]


def test_the_ratio_is_one_on_the_first_minibatch_of_every_update(solved: tuple[float, Solution]) -> None:
    _, solution = solved
    assert solution.ratio_max_deviation < 1e-5


def test_what_is_missing_to_the_optimum_is_beta_times_a_kl(solved: tuple[float, Solution]) -> None:
    """J* − J(π) = β·KL(π‖π*), for whatever policy."""
    beta, solution = solved
    best = PROOF.optimum(beta)
    missing = PROOF.objective(best, beta) - PROOF.objective(solution.logprobs, beta)
    assert missing == pytest.approx(beta * kl(solution.logprobs, best), abs=1e-6)


def test_the_first_updates_are_those_of_a_run_which_has_few_logits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = solve(PROOF, 1.0, updates=3)
    monkeypatch.setattr(vocabulary, "LOGIT_POSITIONS", 64)
    monkeypatch.setattr(vocabulary, "CACHED_POSITIONS", 8)
    monkeypatch.setattr(vocabulary, "CACHED_LOGITS", 1)
    assert total_variation(solve(PROOF, 1.0, updates=3).logprobs, whole.logprobs) < 1e-5


def test_a_constant_in_the_reward_changes_nothing() -> None:
    """Not even the first update, from a critic that knows nothing of the constant: whitening takes it away."""
    assert apart_after_one_update() < 1e-5


def test_a_higher_beta_stays_nearer_and_says_more_different_things() -> None:
    """How the price of a nat changes diversity; the figures are in docs/algorithms/kl-control.md."""
    world = make_world(seed=11, scale=0.1)
    solutions = [solve(world, beta, updates=20, epochs=EPOCHS, episodes=FEWER).logprobs for beta in (0.01, 0.1, 1.0)]
    kls = [kl(found, world.ref_logprobs) for found in solutions]
    entropies = [-float(np.exp(found) @ found) for found in solutions]
    distinct = [expected_distinct(found, samples=256) for found in solutions]
    assert kls == sorted(kls, reverse=True)
    assert entropies == sorted(entropies)
    assert distinct == sorted(distinct)
