"""GRPO, RLOO and REINFORCE++ reach π*, the optimum that PPO reaches; GRPO with its penalty in the loss does not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from proofs.enumerable import BEGINNINGS, EOS, LETTERS, RESPONSES, World, total_variation
from proofs.mutants import padding_counted, rollout_without_the_temperature
from proofs.solve import FEWER, GROUP, solve_without_critic
from proofs.test_optimum import EPOCHS, PROOF

from truing.core.experience import Experience
from truing.stages import grpo, reinforce, rloo
from truing.stages.objective import Scored

UPDATES = 80
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
    solution = solve_without_critic(PROOF, 1.0, stage, UPDATES, FEWER, epochs=EPOCHS, **own)
    found = total_variation(solution.logprobs, PROOF.optimum(1.0))
    print(f"{name}: total variation {found:.4f}")
    assert found <= limit
    assert solution.ratio_max_deviation < 1e-5


Best = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the reference's probabilities of the next tokens, and the reward expected behind each, to the policy's"""


def fixed_point(world: World, best: Best) -> np.ndarray:
    """(responses,) log π of a policy that is `best` behind each beginning, from the last token to the first."""
    rewards = dict(zip(RESPONSES, world.rewards, strict=True))
    scaled = world.ref_logits / world.temperature
    ref = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True))
    tokens = [EOS, *LETTERS]
    logprobs: dict[tuple[int, ...], np.ndarray] = {}

    def value(beginning: tuple[int, ...]) -> float:
        if beginning in rewards:
            return float(rewards[beginning])
        behind = np.array([value((*beginning, token)) for token in tokens])
        policy = best(ref[BEGINNINGS.index(beginning), tokens], behind)
        logprobs[beginning] = np.log(policy)
        return float(policy @ behind)

    value(())
    places = {token: place for place, token in enumerate(tokens)}
    return np.array([sum(logprobs[y[:t]][places[token]] for t, token in enumerate(y)) for y in RESPONSES])


def of_published(ref: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The expected gradient of k3 is that of KL(ref‖π), so π = ref / (λ − behind), and λ makes it sum to 1."""
    low, high = behind.max(), behind.max() + 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (ref / (middle - behind)).sum() > ref.sum() else (low, middle)
    return ref / (high - behind)


def of_corrected(ref: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """That of the corrected one is of each token's own KL(π‖ref): what follows is chosen for its reward alone."""
    unnormalised = ref * np.exp(behind)
    return unnormalised / unnormalised.sum()


@pytest.mark.parametrize(("penalty", "best"), [("k3_in_loss", of_published), ("corrected_k3_in_loss", of_corrected)])
def test_a_penalty_in_the_loss_leads_to_another_policy(penalty: str, best: Best) -> None:
    scale = 1 - 1 / GROUP  # each group's mean holds the response itself
    theirs = fixed_point(PROOF, lambda ref, behind: best(ref, scale * behind))
    own = DR_GRPO | {"penalty": penalty, "epochs": EPOCHS}
    solution = solve_without_critic(PROOF, 1.0, "grpo", UPDATES * 3 // 2, FEWER, **own)
    apart = [total_variation(solution.logprobs, other) for other in (theirs, PROOF.optimum(1.0))]
    print(f"{penalty}: {apart[0]:.4f} to its own fixed point, {apart[1]:.4f} to the optimum")
    assert apart[0] < 0.04
    assert apart[1] > 2.5 * apart[0]


def _changed(right: Callable[..., Experience], change: Callable[[Experience, Scored], Experience]) -> Any:
    return lambda scored, beta: change(right(scored, beta), scored)


def ratio_against_the_reference(patch: pytest.MonkeyPatch, *_: Any) -> None:
    def wrong(experience: Experience, scored: Scored) -> Experience:
        return replace(experience, old_logprobs=scored.ref_logprobs)

    right = grpo.PENALTIES["k1_in_reward"]
    patch.setitem(
        grpo.PENALTIES,
        "k1_in_reward",
        lambda scored, beta, settings: wrong(right(scored, beta, settings), scored),
    )
    for module in (rloo, reinforce):
        patch.setattr(module, "make_experience", _changed(module.make_experience, wrong))


def no_penalty_at_all(patch: pytest.MonkeyPatch, *_: Any) -> None:
    patch.setattr(Scored, "kl", property(lambda scored: scored.scores * 0.0))
    patch.setattr(reinforce, "shape_rewards", _without_penalty(reinforce.shape_rewards))


def _without_penalty(right: Callable[..., Any]) -> Callable[..., Any]:
    return lambda scores, now, ref, mask, beta: right(scores, now, ref, mask, 0.0)


MUTANTS = [ratio_against_the_reference, no_penalty_at_all, padding_counted, rollout_without_the_temperature]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize(
    "stage", ["grpo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rloo", "reinforce"))]
)
def test_a_mistake_is_caught_by_the_proof(mutant: Any, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch, PROOF, 1.0)
    solution = solve_without_critic(PROOF, 1.0, stage, UPDATES // 2, FEWER, epochs=EPOCHS)
    found = total_variation(solution.logprobs, PROOF.optimum(1.0))
    print(f"{stage}, {mutant.__name__}: total variation {found:.4f}")
    assert found > 0.05
