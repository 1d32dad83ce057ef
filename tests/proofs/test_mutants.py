"""Each classic mistake, made on purpose, keeps PPO from the optimum that it reaches with as many updates without."""

import pytest
from proofs.enumerable import total_variation
from proofs.mutants import MUTANTS, Mutant, whitening_that_keeps_the_mean
from proofs.solve import apart_after_one_update, solve
from proofs.test_optimum import EPOCHS, LIMITS, PROOF, UPDATES


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mistake_is_caught_by_the_proof(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch, PROOF, 1.0)
    found = total_variation(solve(PROOF, 1.0, UPDATES[1.0], epochs=EPOCHS).logprobs, PROOF.optimum(1.0))
    print(f"{mutant.__name__}: total variation {found:.4f}")
    assert found > 10 * LIMITS[1.0]


def test_whitening_that_keeps_the_mean_lets_a_constant_in(monkeypatch: pytest.MonkeyPatch) -> None:
    whitening_that_keeps_the_mean(monkeypatch, PROOF, 1.0)
    assert apart_after_one_update() > 0.01
