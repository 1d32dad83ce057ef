"""GRPO, RLOO and REINFORCE++ reach π*, the optimum that PPO reaches; GRPO with its penalty in the loss does not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from proofs.enumerable import BEGINNINGS, EOS, LETTERS, RESPONSES, World, total_variation
from proofs.mutants import padding_counted, rollout_without_the_temperature
from proofs.solve import GROUP, solve_without_critic
from proofs.test_optimum import PROOF

from truing.core.experience import Experience
from truing.stages import grpo, reinforce, rloo
from truing.stages.objective import Scored

UPDATES = 100
DR_GRPO = {"average": "constant", "advantage": "centred"}
CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "RLOO": ("rloo", {}, 0.01),
    "GRPO": ("grpo", {}, 0.01),
    "Dr. GRPO": ("grpo", DR_GRPO, 0.01),
    "DAPO": ("grpo", {"average": "tokens", "clip_range_high": 0.28}, 0.01),
    "GSPO": ("grpo", {"ratio": "response"}, 0.01),
    "REINFORCE++": ("reinforce", {}, 0.03),
}
"""Each with the total variation to π* that it is held to"""


@pytest.mark.parametrize("name", CASES)
def test_the_optimum_is_reached(name: str) -> None:
    stage, own, limit = CASES[name]
    solution = solve_without_critic(PROOF, 1.0, stage, UPDATES, **own)
    found = total_variation(solution.logprobs, PROOF.optimum(1.0))
    print(f"{name}: total variation {found:.4f}")
    assert found <= limit
    assert solution.ratio_max_deviation < 1e-5


def fixed_point_of_k3(world: World, beta: float, scale: float) -> np.ndarray:
    """(responses,) log π at which the gradients of scale·E[r] and of β·k3, a token each, cancel.

    The expected gradient of k3 over the policy's own tokens is that of KL(ref‖π). So from the last token to the first,
    with Q the reward that is expected after each token, the best distribution behind a beginning is
    π(a) = β·ref(a) / (λ − scale·Q(a)), and λ is what makes it sum to 1.
    """
    rewards = dict(zip(RESPONSES, world.rewards, strict=True))
    scaled = world.ref_logits / world.temperature
    ref = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
    logprobs: dict[tuple[int, ...], np.ndarray] = {}

    def value(beginning: tuple[int, ...]) -> float:
        if beginning in rewards:
            return float(rewards[beginning])
        tokens = [EOS, *LETTERS]
        after = np.array([value((*beginning, token)) for token in tokens])
        here = ref[BEGINNINGS.index(beginning), tokens]
        low, high = scale * after.max(), scale * after.max() + beta + 10.0
        for _ in range(200):
            middle = (low + high) / 2
            too_much = (beta * here / (middle - scale * after)).sum() > here.sum()
            low, high = (middle, high) if too_much else (low, middle)
        policy = beta * here / (high - scale * after)
        logprobs[beginning] = np.log(policy)
        return float(policy @ after)

    value(())
    places = {token: place for place, token in enumerate([EOS, *LETTERS])}
    return np.array([sum(logprobs[y[:t]][places[token]] for t, token in enumerate(y)) for y in RESPONSES])


def test_a_penalty_in_the_loss_leads_to_another_policy() -> None:
    """As published, GRPO has the gradient of KL(ref‖π): it ends where that says, 0.15 from π*."""
    solution = solve_without_critic(PROOF, 1.0, "grpo", 2 * UPDATES, penalty="k3_in_loss", **DR_GRPO)
    theirs = fixed_point_of_k3(PROOF, 1.0, scale=1 - 1 / GROUP)  # each group's mean holds the response itself
    print(
        f"k3 in the loss: {total_variation(solution.logprobs, theirs):.4f} to its own fixed point, "
        f"{total_variation(solution.logprobs, PROOF.optimum(1.0)):.4f} to the optimum"
    )
    assert total_variation(solution.logprobs, theirs) < 0.04
    assert total_variation(solution.logprobs, PROOF.optimum(1.0)) > 0.12


def _changed(module: Any, change: Callable[[Experience, Scored], Experience], name: str) -> Any:
    right = getattr(module, name)
    return lambda scored, beta, **settings: change(right(scored, beta, **settings), scored)


def ratio_against_the_reference(patch: pytest.MonkeyPatch, *_: Any) -> None:
    def wrong(experience: Experience, scored: Scored) -> Experience:
        return replace(experience, old_logprobs=scored.ref_logprobs)

    for module, name in ((grpo, "penalty_in_reward"), (rloo, "make_experience"), (reinforce, "make_experience")):
        patch.setattr(module, name, _changed(module, wrong, name))


def no_penalty_at_all(patch: pytest.MonkeyPatch, *_: Any) -> None:
    patch.setattr(Scored, "kl", property(lambda scored: scored.scores * 0.0))
    patch.setattr(reinforce, "shape_rewards", _without_penalty(reinforce.shape_rewards))


def _without_penalty(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda scores, now, ref, mask, beta: right(scores, now, ref, mask, 0.0)


MUTANTS = [ratio_against_the_reference, no_penalty_at_all, padding_counted, rollout_without_the_temperature]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize("stage", ["grpo", "rloo", "reinforce"])
def test_a_mistake_is_caught_by_the_proof(mutant: Any, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch, PROOF, 1.0)
    solution = solve_without_critic(PROOF, 1.0, stage, UPDATES // 2)
    found = total_variation(solution.logprobs, PROOF.optimum(1.0))
    print(f"{stage}, {mutant.__name__}: total variation {found:.4f}")
    assert found > 0.05
