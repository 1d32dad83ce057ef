"""What classic mistakes cost, where every response can be counted: total variation to the known optimum.

    python benchmarks/mistakes/run.py

Runs the PPO stage's own code on the enumerable world of tests/proofs, right and with each mistake of
tests/proofs/mutants.py, and DPO's on enumerated pairs and on labels drawn once. Prints the tables of
docs/algorithms/ppo.md and docs/algorithms/dpo.md. Some minutes on one core.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from proofs.enumerable import total_variation
from proofs.mutants import MUTANTS, Mutant, whitening_that_keeps_the_mean
from proofs.solve import apart_after_one_update, solve
from proofs.test_dpo import WORLD, enumerated, finite
from proofs.test_optimum import LIMITS, PROOF

LABELS = (20_000, 2_000, 200)


def ppo_rows() -> Iterator[tuple[str, list[float]]]:
    """A mistake, and the total variation that PPO ends at for each β."""
    for mutant in (None, *MUTANTS, whitening_that_keeps_the_mean):
        yield mutant.__name__ if mutant else "none", [ppo_distance(mutant, beta) for beta in LIMITS]


def ppo_distance(mutant: Mutant | None, beta: float) -> float:
    with pytest.MonkeyPatch.context() as patch:
        if mutant is not None:
            mutant(patch, PROOF, beta)
        return total_variation(solve(PROOF, beta).logprobs, PROOF.optimum(beta))


def dpo_rows() -> Iterator[tuple[str, list[float]]]:
    """What labels there are, and the total variation of DPO's minimum for β = 1 and 0.3."""
    betas = (1.0, 0.3)
    yield "every pair", [total_variation(enumerated(WORLD, beta), WORLD.optimum(beta)) for beta in betas]
    for pairs in LABELS:
        yield f"{pairs} pairs", [total_variation(finite(WORLD, beta, pairs), WORLD.optimum(beta)) for beta in betas]


def main() -> None:
    for rows in (ppo_rows(), dpo_rows()):
        for name, distances in rows:
            print(f"| {name} | " + " | ".join(f"{distance:.4f}" for distance in distances) + " |", flush=True)
        print()
    print(f"a constant in the reward moves the first update by {apart_after_one_update():.0e}")
    with pytest.MonkeyPatch.context() as patch:
        whitening_that_keeps_the_mean(patch, PROOF, 1.0)
        print(f"and with whitening that keeps the mean by {apart_after_one_update():.2f}")


if __name__ == "__main__":
    main()
