import math

import numpy as np
import pytest
import torch
from oracles import losses
from oracles.cases import draw, tensor

from truing.functional import bradley_terry_loss, dpo_loss, log_odds, orpo_loss, simpo_loss

CHOSEN, REJECTED, MARGIN = draw(0, 6), draw(1, 6), abs(draw(2, 6))
SEQUENCES = [draw(seed, 6, scale=5.0) - 20 for seed in range(4)]
VARIANTS = [("sigmoid", 0.0), ("sigmoid", 0.1), ("robust", 0.0), ("robust", 0.2), ("ipo", 0.0)]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("margin", [None, MARGIN])
def test_loss(margin, label_smoothing):
    actual = bradley_terry_loss(
        tensor(CHOSEN), tensor(REJECTED), None if margin is None else tensor(margin), label_smoothing
    )
    expected = losses.bradley_terry(CHOSEN, REJECTED, np.zeros(6) if margin is None else margin, label_smoothing)
    assert actual.item() == pytest.approx(expected)


def test_shares_of_people_are_probabilities_that_the_label_is_right():
    shares = np.linspace(0.5, 1.0, 6)
    actual = bradley_terry_loss(tensor(CHOSEN), tensor(REJECTED), label_smoothing=1 - tensor(shares))
    sure = 1 / (1 + np.exp(np.asarray(REJECTED) - np.asarray(CHOSEN)))
    assert actual.item() == pytest.approx(-(shares * np.log(sure) + (1 - shares) * np.log(1 - sure)).mean())
    gaps = (tensor(CHOSEN) - tensor(REJECTED)).requires_grad_()
    bradley_terry_loss(gaps, torch.zeros_like(gaps), label_smoothing=1 - tensor(shares)).backward()
    assert gaps.grad is not None
    assert gaps.grad.tolist() == pytest.approx((sure - shares) / 6)  # of a cross-entropy: what it says less what is so


def test_equal_scores_cost_log_two_and_a_single_margin_serves_all():
    zero = torch.zeros(3)
    assert bradley_terry_loss(zero, zero).item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(zero + 1, zero, margin=1).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("difference", "label_smoothing", "loss", "gradient"),
    [
        (1e4, 0.0, 0.0, 0.0),
        (-1e4, 0.0, 1e4, -1.0),
        (1e4, 0.25, 2500.0, 0.25),
        (-1e4, 0.25, 7500.0, -0.75),
    ],
)
def test_differences_of_ten_thousand(difference, label_smoothing, loss, gradient, dtype):
    chosen = torch.tensor([difference], dtype=dtype, requires_grad=True)
    actual = bradley_terry_loss(chosen, torch.zeros(1, dtype=dtype), label_smoothing=label_smoothing)
    actual.backward()
    assert actual.item() == pytest.approx(loss)
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(gradient)


def test_gradient_and_precision():
    inputs = [tensor(x).requires_grad_() for x in (CHOSEN, REJECTED, MARGIN)]
    assert torch.autograd.gradcheck(lambda c, r, m: bradley_terry_loss(c, r, m, 0.1), inputs)
    single = bradley_terry_loss(*(x.float() for x in inputs))
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(bradley_terry_loss(*inputs).item(), rel=1e-6)


def test_the_loss_is_least_at_the_reward_behind_the_labels_whatever_its_constant():
    planted = torch.tensor([-1.0, 0.0, 0.5, 1.5], dtype=torch.float64)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]

    def slope(scores):
        """Gradient of the expected loss when i beats j as often as the planted reward says; the loss is convex."""
        scores = scores.clone().requires_grad_()
        chances = [1 / (1 + math.exp(planted[j] - planted[i])) for i, j in pairs]
        losses = [bradley_terry_loss(scores[[i]], scores[[j]]) for i, j in pairs]
        (gradient,) = torch.autograd.grad(
            sum(chance * loss for chance, loss in zip(chances, losses, strict=True)), scores
        )
        return gradient.abs().max().item()

    assert slope(planted) < 1e-12
    assert slope(planted + 7) < 1e-12
    assert slope(planted * 1.1) > 1e-2


@pytest.mark.parametrize("beta", [0.03, 0.1, 1.0])
@pytest.mark.parametrize(("variant", "label_smoothing"), VARIANTS)
def test_dpo_loss(variant, label_smoothing, beta):
    actual = dpo_loss(*map(tensor, SEQUENCES), beta, variant, label_smoothing)
    assert actual.item() == pytest.approx(losses.dpo(*SEQUENCES, beta, variant, np.full(6, label_smoothing)))


def test_dpo_takes_a_label_smoothing_for_each_pair():
    chances = np.linspace(0.0, 0.9, 6)
    actual = dpo_loss(*map(tensor, SEQUENCES), label_smoothing=tensor(chances))
    assert actual.item() == pytest.approx(losses.dpo(*SEQUENCES, 0.1, "sigmoid", chances))


def test_a_policy_that_is_the_reference_prefers_neither_side():
    chosen, rejected = tensor(CHOSEN), tensor(REJECTED)
    assert dpo_loss(chosen, rejected, chosen, rejected).item() == pytest.approx(math.log(2))
    assert dpo_loss(chosen, rejected, chosen, rejected, 0.1, "ipo").item() == pytest.approx(25.0)


@pytest.mark.parametrize("flipped", [0.1, 0.3])
def test_robust_dpo_expects_under_flipped_labels_what_plain_dpo_costs_under_true_ones(flipped):
    right = [tensor(x) for x in SEQUENCES]
    wrong = [right[1], right[0], right[3], right[2]]
    expected = (1 - flipped) * dpo_loss(*right, 0.1, "robust", flipped) + flipped * dpo_loss(
        *wrong, 0.1, "robust", flipped
    )
    assert expected.item() == pytest.approx(dpo_loss(*right, 0.1).item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("h", "variant", "label_smoothing", "loss", "gradient"),
    [
        (1e4, "sigmoid", 0.0, 0.0, 0.0),
        (-1e4, "sigmoid", 0.0, 1e4, -1.0),
        (-1e4, "sigmoid", 0.25, 7500.0, -0.75),
        (-1e4, "robust", 0.25, 15000.0, -1.5),
        (1e4, "ipo", 0.0, (1e4 - 0.5) ** 2, 2 * (1e4 - 0.5)),
    ],
)
def test_dpo_of_differences_of_ten_thousand(h, variant, label_smoothing, loss, gradient, dtype):
    chosen, zero = torch.tensor([h], dtype=dtype, requires_grad=True), torch.zeros(1, dtype=dtype)
    actual = dpo_loss(chosen, zero, zero, zero, 1.0, variant, label_smoothing)
    actual.backward()
    assert actual.item() == pytest.approx(loss)
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(gradient)


@pytest.mark.parametrize(("variant", "label_smoothing"), VARIANTS)
def test_dpo_gradient_and_precision(variant, label_smoothing):
    inputs = [tensor(x).requires_grad_() for x in SEQUENCES]
    assert torch.autograd.gradcheck(lambda *x: dpo_loss(*x, 0.1, variant, label_smoothing), inputs)
    single = dpo_loss(*(x.float() for x in inputs), 0.1, variant, label_smoothing)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(dpo_loss(*inputs, 0.1, variant, label_smoothing).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("beta", "variant", "label_smoothing", "complaint"),
    [
        (0.0, "sigmoid", 0.0, "beta must be above 0"),
        (-0.1, "ipo", 0.0, "beta must be above 0"),
        (0.1, "ipo", 0.1, "no label smoothing"),
        (0.1, "robust", 0.5, "no label smoothing"),
    ],
)
def test_dpo_refuses_what_has_no_meaning(beta, variant, label_smoothing, complaint):
    with pytest.raises(ValueError, match=complaint):
        dpo_loss(*map(tensor, SEQUENCES), beta, variant, label_smoothing)


def test_a_pair_that_counts_twice_and_one_that_does_not_count():
    weights = np.array([2.0, 0, 1, 1, 0, 3])
    each = [losses.bradley_terry(CHOSEN[row : row + 1], REJECTED[row : row + 1], MARGIN[:1], 0.1) for row in range(6)]
    actual = bradley_terry_loss(tensor(CHOSEN), tensor(REJECTED), float(MARGIN[0]), 0.1, tensor(weights))
    assert actual.item() == pytest.approx(float(weights @ np.array(each)) / 6)


MEANS = [-abs(draw(seed, 6)) - 0.01 for seed in (7, 8)]
"""Log-probabilities averaged over tokens"""


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 1.0), (2.5, 0.0), (0.1, 3.0)])
def test_simpo_loss(beta: float, gamma: float) -> None:
    actual = simpo_loss(*map(tensor, MEANS), beta, gamma)
    assert actual.item() == pytest.approx(losses.simpo(*MEANS, beta, gamma))


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_orpo_loss(weight: float) -> None:
    assert orpo_loss(*map(tensor, MEANS), weight).item() == pytest.approx(losses.orpo(*MEANS, weight))


def test_without_its_odds_ratio_orpo_is_the_sft_loss_of_the_chosen_side() -> None:
    assert orpo_loss(*map(tensor, MEANS), 0.0).item() == pytest.approx(-MEANS[0].mean())


@pytest.mark.parametrize("loss", [simpo_loss, orpo_loss])
def test_losses_without_a_reference_have_the_gradient_of_their_formula(loss) -> None:
    inputs = [tensor(x).requires_grad_() for x in MEANS]
    assert torch.autograd.gradcheck(loss, inputs)
    single = loss(*(x.float() for x in inputs))
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(loss(*inputs).item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odds_of_what_is_certain_and_of_what_is_impossible_have_an_end(dtype) -> None:
    logprobs = torch.tensor([0.0, -1e-12, -1e4, math.log(0.5)], dtype=dtype, requires_grad=True)
    odds = log_odds(logprobs)
    odds.sum().backward()
    assert bool(odds.isfinite().all())
    assert logprobs.grad is not None
    assert bool(logprobs.grad.isfinite().all())
    assert odds[2:].tolist() == pytest.approx([-1e4, 0.0], abs=1e-6)


def test_losses_without_a_reference_refuse_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="beta must be above 0"):
        simpo_loss(*map(tensor, MEANS), beta=0.0)
    with pytest.raises(ValueError, match="weight must not be below 0"):
        orpo_loss(*map(tensor, MEANS), weight=-0.1)
