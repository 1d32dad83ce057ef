"""What each use of a KL estimator does to the policy, on average: every expectation is a sum over all responses.

Schulman 2020, "Approximating KL divergence"; the table in docs/algorithms/kl-control.md. Everything in float64.
"""

import math

import numpy as np
import pytest
import torch
from oracles.distributions import kl_of_best_of_n
from torch import Tensor

from truing.evaluation.pair_card import pair_card
from truing.functional import best_of_n_kl_bound, bradley_terry_loss, kl_estimate, kl_exact, shape_rewards

LETTERS, STEPS = 3, 2
FIRST, SECOND = 1, LETTERS  # rows of logits: one before the first token, one after each first token
RESPONSES = torch.cartesian_prod(*[torch.arange(LETTERS)] * STEPS)


def table(seed: int) -> Tensor:
    """(1 + LETTERS, LETTERS) logits of a policy over two-token responses."""
    return torch.randn(FIRST + SECOND, LETTERS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def token_logprobs(logits: Tensor) -> Tensor:
    """(9, 2) log π of each token of every response."""
    first, second = RESPONSES.T
    logprobs = logits.log_softmax(-1)
    return torch.stack([logprobs[0, first], logprobs[1 + first, second]], dim=1)


def grad(value: Tensor, logits: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
    return gradient


@pytest.fixture
def logits() -> Tensor:
    return table(0).requires_grad_()


@pytest.fixture
def now(logits: Tensor) -> Tensor:
    return token_logprobs(logits)


@pytest.fixture
def ref() -> Tensor:
    return token_logprobs(table(1))


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) of whole responses, from (9, 2) log-probabilities of tokens."""
    return (p.sum(1).exp() * (p - q).sum(1)).sum()


def as_loss(now: Tensor, per_token: Tensor) -> Tensor:
    """The expectation of a token loss over samples that do not move with the policy, as in an optimiser step."""
    return (now.detach().sum(1).exp() * per_token.sum(1)).sum()


def as_reward(now: Tensor, reward: Tensor) -> Tensor:
    """The surrogate whose gradient is the policy gradient of E[reward]."""
    return (now.detach().sum(1).exp() * now.sum(1) * reward.detach()).sum()


def same(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b, atol=1e-10, rtol=0))


def test_k1_in_the_reward_has_the_gradient_of_the_kl(logits, now, ref):
    mask, nothing = torch.ones(9, 2), torch.zeros(9, dtype=torch.float64)
    penalty = shape_rewards(nothing, now, ref, mask, beta=1.0).sum(1)
    assert same(grad(as_reward(now, penalty), logits), -grad(kl(now, ref), logits))


def test_k1_as_a_loss_has_no_gradient_at_all(logits, now, ref):
    assert same(grad(as_loss(now, kl_estimate(now, ref, "k1")), logits), torch.zeros_like(logits))


def test_k2_as_a_loss_is_the_kl_of_the_next_token_and_forgets_later_ones(logits, now, ref):
    found = grad(as_loss(now, kl_estimate(now, ref, "k2")), logits)
    assert same(found[FIRST:], grad(kl(now, ref), logits)[FIRST:])
    of_first_token_alone = kl_exact(logits[None, :1], table(1)[None, :1]).sum()
    assert same(found[:FIRST], grad(of_first_token_alone, logits)[:FIRST])
    assert not torch.allclose(found[:FIRST], grad(kl(now, ref), logits)[:FIRST], atol=1e-2)


def test_the_exact_kl_as_a_token_loss_forgets_later_tokens_just_the_same(logits, now, ref):
    rows = torch.stack([torch.zeros(9, dtype=torch.long), 1 + RESPONSES[:, 0]], dim=1)
    exact = kl_exact(logits[rows], table(1)[rows])
    assert same(grad(as_loss(now, exact), logits), grad(as_loss(now, kl_estimate(now, ref, "k2")), logits))


def test_k3_as_a_loss_pulls_in_the_other_direction(logits, now, ref):
    found = grad(as_loss(now, kl_estimate(now, ref, "k3")), logits)
    first, second = logits.log_softmax(-1)[0], logits.log_softmax(-1)[1:]
    ref_first, ref_second = table(1).log_softmax(-1)[0], table(1).log_softmax(-1)[1:]
    visits = now.detach().exp()[::LETTERS, 0]  # π of each first token: how often the second row is seen
    reverse = -(ref_first.exp() * first).sum() - (visits[:, None] * ref_second.exp() * second).sum()
    assert same(found, grad(reverse, logits))


def test_k3_of_a_whole_response_in_the_reward_is_a_difference_of_two_kls(logits, now, ref):
    whole, ref_whole = now.sum(1, keepdim=True), ref.sum(1, keepdim=True)
    found = grad(as_reward(now, kl_estimate(whole, ref_whole, "k3").sum(1)), logits)
    assert same(found, grad(kl(now, ref) - kl(ref, now), logits))


def test_k1_on_samples_of_the_reference_is_minus_the_other_kl(now, ref):
    mean = (ref.sum(1).exp() * kl_estimate(now, ref, "k1").sum(1)).sum()
    assert same(mean, -kl(ref, now))
    assert mean < 0


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(now, ref, estimator):
    whole, ref_whole = now.sum(1, keepdim=True), ref.sum(1, keepdim=True)
    assert same(as_loss(now, kl_estimate(whole, ref_whole, estimator)), kl(now, ref))


@pytest.mark.parametrize("n", [1, 2, 4, 16, 64])
def test_best_of_n_stays_below_its_bound(n):
    for seed in range(5):
        p = np.random.default_rng(seed).dirichlet(np.ones(32))
        assert -1e-12 <= kl_of_best_of_n(p, n) <= best_of_n_kl_bound(n) + 1e-12


def test_a_planted_reward_is_recovered_up_to_a_constant_and_calibrated():
    planted = torch.tensor([-1.5, -0.5, 0.0, 0.3, 1.7], dtype=torch.float64)
    i, j = torch.tensor([(a, b) for a in range(5) for b in range(5) if a != b]).T
    chance = torch.sigmoid(planted[i] - planted[j])
    scores = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scores], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, lr=1)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = bradley_terry_loss(scores[i], scores[j], label_smoothing=1 - chance)
        value.backward()
        return value

    optimiser.step(loss)
    found = scores.detach() - scores.detach().mean()
    assert torch.allclose(found, planted - planted.mean(), atol=1e-10, rtol=0)
    assert torch.allclose(torch.sigmoid(found[i] - found[j]), chance, atol=1e-10, rtol=0)


@pytest.mark.parametrize("flipped", [0.0, 0.1, 0.25])
def test_flipped_labels_cap_the_accuracy_of_the_best_scorer_there_is(flipped):
    random = np.random.default_rng(0)
    better, worse = random.random(20_000) + 1, random.random(20_000)
    wrong = random.random(20_000) < flipped
    chosen, rejected = np.where(wrong, worse, better), np.where(wrong, better, worse)
    card = pair_card(*map(torch.tensor, (chosen, rejected)), *[torch.ones(20_000)] * 2)
    assert card.heldout_accuracy == pytest.approx(1 - flipped, abs=4 * math.sqrt(0.25 / 20_000))
