import math

import numpy as np
import pytest
import torch
from oracles import losses
from oracles.cases import draw, tensor

from truing.functional import bradley_terry_loss

CHOSEN, REJECTED, MARGIN = draw(0, 6), draw(1, 6), abs(draw(2, 6))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("margin", [None, MARGIN])
def test_loss(margin, label_smoothing):
    actual = bradley_terry_loss(
        tensor(CHOSEN), tensor(REJECTED), None if margin is None else tensor(margin), label_smoothing
    )
    expected = losses.bradley_terry(CHOSEN, REJECTED, np.zeros(6) if margin is None else margin, label_smoothing)
    assert actual.item() == pytest.approx(expected)


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
