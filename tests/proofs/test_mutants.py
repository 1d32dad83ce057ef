"""Each classic mistake, made on purpose, keeps PPO from the optimum that it comes near with as many updates without."""

import pytest
from proofs.enumerable import total_variation
from proofs.mutants import MUTANTS, Mutant, whitening_that_keeps_the_mean
from proofs.solve import FEWER, apart_after_one_update, solve
from proofs.test_optimum import EPOCHS, LIMITS, PROOF, UPDATES


def distance() -> float:
    """Total variation to the optimum after half the updates that reach it."""
    return total_variation(
        solve(PROOF, 1.0, UPDATES[1.0] // 2, epochs=EPOCHS, episodes=FEWER).logprobs, PROOF.optimum(1.0)
    )


def test_without_a_mistake_this_effort_comes_near() -> None:
    assert distance() < 5 * LIMITS[1.0]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mistake_is_caught_by_the_proof(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch, PROOF, 1.0)
    found = distance()
    print(f"{mutant.__name__}: total variation {found:.4f}")
    assert found > 10 * LIMITS[1.0]


def test_whitening_that_keeps_the_mean_lets_a_constant_in(monkeypatch: pytest.MonkeyPatch) -> None:
    whitening_that_keeps_the_mean(monkeypatch, PROOF, 1.0)
    assert apart_after_one_update() > 0.01
