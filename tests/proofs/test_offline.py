"""KTO, SimPO, ORPO and DPO's variants on the enumerable world, each at the fixed point or condition of its own loss.

Where all 121 responses can be counted, a loss over pairs is a sum over all of them with the chance of either label, and
what a policy that minimises it must satisfy is written down in numpy, from the paper's formula alone.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from proofs.enumerable import PAD, PROMPT, RESPONSES, Tabular, World, make_world, total_variation
from torch import Tensor

from truing.config.algorithms import Dpo, Kto, Orpo, Simpo
from truing.core.batches import PairBatch, Sequences
from truing.functional import kto_reference_point, orpo_loss, simpo_loss
from truing.models.roles import Role
from truing.models.scoring import sequence_logprobs
from truing.stages import kto, orpo, pairs, simpo
from truing.stages.dpo import ReferencedPairs, preference_loss
from truing.stages.kto import RatedBatch, rating_loss
from truing.stages.pairs import PairLoss, SideLogprobs

WORLD = make_world(seed=11)
LENGTHS = np.array([len(response) for response in RESPONSES])
ALL = Sequences.collate([[PROMPT]] * len(RESPONSES), RESPONSES, PAD)
FIRST, SECOND = np.triu_indices(len(RESPONSES), k=1)
LIMIT = 0.002
"""Total variation to a fixed point that is known"""


def minimised(world: World, loss: Callable[[Role], Tensor], steps: int = 200) -> np.ndarray:
    """(responses,) log π of the policy that minimises a loss, from the reference on."""
    policy = Role(Tabular(world.ref_logits))
    optimiser = torch.optim.LBFGS(
        policy.parameters(), max_iter=steps, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(policy)
        value.backward()
        return value

    optimiser.step(closure)
    return world.logprobs(policy.model.table)


def over_all_pairs(loss: PairLoss, chances: np.ndarray) -> Callable[[Role], Tensor]:
    """A stage's loss over every pair, in which the first side is chosen with these chances and else the second."""
    won = torch.tensor(chances, dtype=torch.float32)

    def side(logprobs: SideLogprobs, index: np.ndarray) -> SideLogprobs:
        rows = torch.tensor(index)
        return SideLogprobs(logprobs.total[rows][:, None], logprobs.mean[rows][:, None])

    def expected(policy: Role) -> Tensor:
        every, _ = pairs.pair_logprobs(policy, PairBatch(ALL, ALL, torch.zeros(len(ALL))))
        first, second = side(every, FIRST), side(every, SECOND)
        one_by_one = torch.vmap(lambda a, b, c, d: loss.loss(SideLogprobs(a, b), SideLogprobs(c, d)))
        right = one_by_one(first.total, first.mean, second.total, second.mean)
        wrong = one_by_one(second.total, second.mean, first.total, first.mean)
        return (won * right + (1 - won) * wrong).mean()

    return expected


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def simpo_chances(gamma: float) -> np.ndarray:
    """Of labels under which each pair's loss is least where β·(mean log π) differ as the world's rewards do.

    There, p·σ(γ − m) = (1 − p)·σ(γ + m).
    """
    margin = WORLD.rewards[FIRST] - WORLD.rewards[SECOND]
    up, down = sigmoid(gamma + margin), sigmoid(gamma - margin)
    return up / (up + down)


def simpo_fixed_point(beta: float) -> np.ndarray:
    """Log π(y) = |y|·(r(y) + c)/β, where c makes it a distribution."""
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        too_much = np.exp(LENGTHS * (WORLD.rewards + middle) / beta).sum() > 1
        low, high = (low, middle) if too_much else (middle, high)
    return LENGTHS * (WORLD.rewards + low) / beta


def solve_simpo(beta: float = 2.0, gamma: float = 1.0) -> np.ndarray:
    return minimised(WORLD, over_all_pairs(simpo.margin_loss(Simpo(beta=beta, gamma=gamma)), simpo_chances(gamma)))


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 0.0), (2.0, 1.0), (1.0, 3.0)])
def test_simpo_reaches_the_policy_whose_mean_logprobs_are_the_rewards(beta: float, gamma: float) -> None:
    assert total_variation(solve_simpo(beta, gamma), simpo_fixed_point(beta)) < LIMIT


def of_the_sum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pairs, "_side", lambda totals, lengths: SideLogprobs(totals, totals))


def over_one_token_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pairs, "_side", lambda totals, lengths: SideLogprobs(totals, totals / (lengths + 1)))


def margin_of_the_other_sign(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simpo, "simpo_loss", lambda c, r, beta, gamma: simpo_loss(c, r, beta, -gamma))


def margin_times_beta(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simpo, "simpo_loss", lambda c, r, beta, gamma: simpo_loss(c, r, beta, beta * gamma))


def sides_exchanged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simpo, "simpo_loss", lambda c, r, beta, gamma: simpo_loss(r, c, beta, gamma))


@pytest.mark.parametrize(
    "mutant", [of_the_sum, over_one_token_more, margin_of_the_other_sign, margin_times_beta, sides_exchanged]
)
def test_a_mistake_in_simpo_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert total_variation(solve_simpo(), simpo_fixed_point(2.0)) > 10 * LIMIT


BRADLEY_TERRY = sigmoid(WORLD.rewards[FIRST] - WORLD.rewards[SECOND])


def solve_orpo(weight: float) -> np.ndarray:
    return minimised(WORLD, over_all_pairs(orpo.odds_loss(Orpo(weight=weight)), BRADLEY_TERRY))


def wins() -> np.ndarray:
    """(responses,) how often each is chosen, over all pairs."""
    table = np.zeros(len(RESPONSES))
    np.add.at(table, FIRST, BRADLEY_TERRY)
    np.add.at(table, SECOND, 1 - BRADLEY_TERRY)
    return table


def sft_optimum() -> np.ndarray:
    """Log π of SFT on chosen sides, each response averaged over its tokens: π(y) ∝ wins(y)/|y|."""
    share = wins() / LENGTHS
    return np.log(share / share.sum())


def unlike_orpo(logprobs: np.ndarray, weight: float) -> float:
    """How far −∂L/∂log π(y) is from a multiple of π(y), which it must be where no change of π lowers L; a share of it.

    With p(y) = π(y)^(1/|y|): −∂L/∂log π(y) = (wins(y) + λ·Σ (chance to win − σ(log odds ratio))/(1 − p(y)))/|y|.
    """
    p = np.exp(logprobs / LENGTHS)
    odds = np.log(p / (1 - p))
    short = BRADLEY_TERRY - sigmoid(odds[FIRST] - odds[SECOND])
    pull = np.zeros(len(RESPONSES))
    np.add.at(pull, FIRST, short)
    np.add.at(pull, SECOND, -short)
    slope = (wins() + weight * pull / (1 - p)) / LENGTHS
    return float(np.abs(slope / slope.sum() - np.exp(logprobs)).sum() / 2)


def test_orpo_without_its_odds_ratio_is_sft_on_the_chosen_side() -> None:
    assert total_variation(solve_orpo(0.0), sft_optimum()) < LIMIT


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_orpo_ends_where_its_gradient_is_zero_by_the_formula(weight: float) -> None:
    found = solve_orpo(weight)
    assert unlike_orpo(found, weight) < LIMIT
    assert unlike_orpo(sft_optimum(), weight) > 5 * LIMIT  # the odds ratio does move it


def of_the_probability(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("truing.functional.preference.log_odds", lambda logprobs: logprobs)


def without_the_sft_term(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(orpo, "orpo_loss", lambda c, r, weight: orpo_loss(c, r, weight) + c.mean())


def odds_exchanged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(orpo, "orpo_loss", lambda c, r, weight: orpo_loss(r, c, weight) + r.mean() - c.mean())


@pytest.mark.parametrize(
    "mutant", [of_the_sum, over_one_token_more, of_the_probability, without_the_sft_term, odds_exchanged]
)
def test_a_mistake_in_orpo_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert unlike_orpo(solve_orpo(1.0), 1.0) > 10 * LIMIT


COPIES = 10
"""Ratings of each response"""
BETA = 1.0


def rated(wanted: np.ndarray) -> tuple[Sequences, Tensor, np.ndarray]:
    """Each response ten times, of which so many are wanted; the labels, and which response each row has."""
    index = np.repeat(np.arange(len(RESPONSES)), COPIES)
    labels = torch.tensor(np.arange(len(index)) % COPIES < np.repeat(wanted, COPIES))
    return Sequences.collate([[PROMPT]] * len(index), [RESPONSES[row] for row in index], PAD), labels, index


def solve_kto(wanted: np.ndarray, updates: int = 400) -> tuple[np.ndarray, float]:
    """Log π after updates of KTO, each with a reference point of its own, and the last of these."""
    policy, reference = Role(Tabular(WORLD.ref_logits)), Role(Tabular(WORLD.ref_logits))
    responses, labels, index = rated(wanted)
    others = torch.tensor(np.roll(np.arange(len(RESPONSES)), 1)[index])  # all have the one prompt
    with torch.no_grad():
        kept = sequence_logprobs(reference, ALL)
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, updates)
    for _ in range(updates):
        with torch.no_grad():
            point = kto.kto_reference_point(sequence_logprobs(policy, ALL)[others], kept[others])
        batch = RatedBatch(responses, labels, kept[torch.tensor(index)], point)
        optimiser.zero_grad()
        rating_loss(policy, batch, Kto(beta=BETA, undesirable_weight=1.5))[0].backward()
        optimiser.step()
        schedule.step()
    return WORLD.logprobs(policy.model.table), float(point)


def unlike_kto(logprobs: np.ndarray, wanted: np.ndarray) -> float:
    """How far −∂L/∂log π(y) = β·(λ_D·wanted(y) − λ_U·unwanted(y))·σ′(β(r − z₀)) is from a multiple of π(y).

    That r = log π/π_ref is KTO's implicit reward, and z₀ its mean where that is above 0.
    """
    reward = logprobs - WORLD.ref_logprobs
    gain = sigmoid(BETA * (reward - max(0.0, reward.mean())))
    slope = (wanted - 1.5 * (COPIES - wanted)) * gain * (1 - gain)
    return float(np.abs(slope / slope.sum() - np.exp(logprobs)).sum() / 2)


MOSTLY_WANTED = np.random.default_rng(3).integers(7, COPIES + 1, len(RESPONSES))


def test_kto_ends_where_its_gradient_is_zero_by_the_formula() -> None:
    found, point = solve_kto(MOSTLY_WANTED)
    assert point > 0.1  # so it matters
    assert unlike_kto(found, MOSTLY_WANTED) < 0.01


def test_ktos_implicit_reward_parts_what_most_want_from_what_they_do_not() -> None:
    wanted = np.random.default_rng(4).integers(0, COPIES + 1, len(RESPONSES))
    found, point = solve_kto(wanted)
    worth = wanted > 1.5 * (COPIES - wanted)
    tie = wanted == 1.5 * (COPIES - wanted)
    reward = found - WORLD.ref_logprobs
    assert worth[reward > point].all()
    assert reward[worth].min() > reward[~worth & ~tie].max()
    assert np.exp(found)[worth].sum() > 0.99


def without_a_reference_point(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kto, "kto_reference_point", lambda now, ref: torch.zeros(()))


def reference_point_of_the_other_sign(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kto, "kto_reference_point", lambda now, ref: -kto_reference_point(now, ref))


def without_the_reference(patch: pytest.MonkeyPatch) -> None:
    right = kto.kto_loss
    patch.setattr(kto, "kto_loss", lambda now, ref, *rest: right(now, torch.zeros_like(ref), *rest))


def weights_exchanged(patch: pytest.MonkeyPatch) -> None:
    right = kto.kto_loss
    patch.setattr(kto, "kto_loss", lambda *rest: right(*rest[:-2], rest[-1], rest[-2]))


def loss_without_saturation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("truing.functional.ratings.sigmoid", torch.nn.functional.logsigmoid)


@pytest.mark.parametrize(
    "mutant",
    [
        without_a_reference_point,
        reference_point_of_the_other_sign,
        without_the_reference,
        weights_exchanged,
        loss_without_saturation,
    ],
)
def test_a_mistake_in_kto_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert unlike_kto(solve_kto(MOSTLY_WANTED)[0], MOSTLY_WANTED) > 0.05


def solve_dpo(settings: Dpo) -> np.ndarray:
    """DPO over every pair with its chances, as the first and the second side of each."""
    reference, sides = Role(Tabular(WORLD.ref_logits)), [ALL.rows(FIRST.tolist()), ALL.rows(SECOND.tolist())]
    smoothing = torch.tensor(1 - BRADLEY_TERRY, dtype=torch.float32)  # one for each pair, which no recipe can say
    with torch.no_grad():
        kept = [sequence_logprobs(reference, side, settings.length_normalised) for side in sides]
    batch = ReferencedPairs(PairBatch(*sides, torch.zeros(len(FIRST))), *kept)
    own = settings.model_copy(update={"label_smoothing": smoothing})
    return minimised(WORLD, lambda policy: preference_loss(policy, batch, own)[0])


def test_length_normalised_dpo_has_the_reward_in_the_mean_log_ratio() -> None:
    """Log π = log π_ref + |y|·(r + c)/β."""
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        too_much = np.exp(WORLD.ref_logprobs + LENGTHS * (WORLD.rewards + middle) / 2.0).sum() > 1
        low, high = (low, middle) if too_much else (middle, high)
    expected = WORLD.ref_logprobs + LENGTHS * (WORLD.rewards + low) / 2.0
    found = solve_dpo(Dpo(beta=2.0, length_normalised=True))
    assert total_variation(found, expected) < LIMIT
    assert total_variation(solve_dpo(Dpo(beta=2.0)), expected) > 10 * LIMIT


def test_dpo_with_an_sft_term_ends_where_both_gradients_cancel() -> None:
    """−∂L/∂log π(y) = β·Σ (chance to win − σ(βh)) + α·first(y)/|y|, where α weighs the SFT loss on first sides."""
    found, beta, weight = solve_dpo(Dpo(beta=0.5, sft_weight=0.3)), 0.5, 0.3
    reward = beta * (found - WORLD.ref_logprobs)
    short = BRADLEY_TERRY - sigmoid(reward[FIRST] - reward[SECOND])
    slope = weight * np.bincount(FIRST, minlength=len(RESPONSES)) / LENGTHS
    np.add.at(slope, FIRST, beta * short)
    np.add.at(slope, SECOND, -beta * short)
    assert np.abs(slope / slope.sum() - np.exp(found)).sum() / 2 < LIMIT
    assert total_variation(found, WORLD.optimum(beta)) > 10 * LIMIT
