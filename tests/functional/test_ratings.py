"""KTO's loss and its reference point, against the formula by cases."""

import numpy as np
import pytest
import torch
from oracles import losses
from oracles.cases import draw, tensor

from truing.functional import kto_loss, kto_reference_point

NOW, REF = draw(0, 6, scale=5.0) - 20, draw(1, 6, scale=5.0) - 20
WANTED = np.array([True, False, True, True, False, False])


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 1.33), (2.0, 0.5)])
@pytest.mark.parametrize(("beta", "reference_point"), [(0.1, 0.0), (0.3, 2.5)])
def test_kto_loss(beta: float, reference_point: float, weights: tuple[float, float]) -> None:
    actual = kto_loss(tensor(NOW), tensor(REF), tensor(WANTED), reference_point, beta, *weights)
    assert actual.item() == pytest.approx(losses.kto(NOW, REF, WANTED, reference_point, beta, weights))


def test_a_policy_that_is_the_reference_costs_half_of_each_weight() -> None:
    same = tensor(REF)
    assert kto_loss(same, same, tensor(WANTED), 0.0, 0.1, 1.0, 3.0).item() == pytest.approx((0.5 + 1.5) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_from_the_reference_point_gains_and_losses_end(dtype: torch.dtype) -> None:
    now = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    wanted = torch.tensor([True, True, False, False])
    loss = kto_loss(now, torch.zeros(4, dtype=dtype), wanted, 0.0, 1.0, 1.0, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx((0 + 1 + 2 + 0) / 4)
    assert now.grad is not None
    assert now.grad.tolist() == [0.0] * 4


def test_kto_gradient_and_precision() -> None:
    inputs = [tensor(x).requires_grad_() for x in (NOW, REF)]
    assert torch.autograd.gradcheck(lambda n, r: kto_loss(n, r, tensor(WANTED), 1.5, 0.1, 1.0, 1.3), inputs)
    single = kto_loss(*(x.float() for x in inputs), tensor(WANTED), 1.5)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(kto_loss(*inputs, tensor(WANTED), 1.5).item(), rel=1e-6)


def test_the_reference_point_is_the_mean_log_ratio_and_never_negative() -> None:
    assert kto_reference_point(tensor(NOW + 50), tensor(REF)).item() == pytest.approx((NOW + 50 - REF).mean())
    assert kto_reference_point(tensor(NOW - 50), tensor(REF)).item() == 0.0


def test_no_gradient_goes_through_the_reference_point() -> None:
    now = tensor(NOW + 50).requires_grad_()
    assert not kto_reference_point(now, tensor(REF)).requires_grad


def test_kto_refuses_a_beta_that_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="beta must be above 0"):
        kto_loss(tensor(NOW), tensor(REF), tensor(WANTED), 0.0, 0.0)
