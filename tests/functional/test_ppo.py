import math

import pytest
import torch
from oracles import losses
from oracles.cases import MASKS, draw, mask_named, tensor

from truing.functional import ppo_policy_loss, ppo_value_loss

OLD, NEW, TARGET = draw(0, 3, 4), draw(0, 3, 4) + draw(1, 3, 4, scale=0.4), draw(2, 3, 4)


@pytest.mark.parametrize("clip_range", [0.1, 0.5])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(
    ("function", "oracle"), [(ppo_policy_loss, losses.ppo_policy), (ppo_value_loss, losses.ppo_value)]
)
def test_loss_and_stats(function, oracle, name, clip_range):
    mask = mask_named(name)
    loss, stats = function(*(tensor(x, mask) for x in (NEW, OLD, TARGET)), torch.tensor(mask), clip_range)
    actual = {"loss": loss.item()} | {key: value.item() for key, value in stats.items()}
    assert actual == pytest.approx(oracle(NEW, OLD, TARGET, mask, clip_range))


@pytest.mark.parametrize("function", [ppo_policy_loss, ppo_value_loss])
def test_stats_are_detached(function):
    loss, stats = function(tensor(NEW).requires_grad_(), tensor(OLD), tensor(TARGET), torch.ones(3, 4))
    assert loss.requires_grad
    assert not any(value.requires_grad for value in stats.values())


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [
        (1.0, 2.0, -2.0),
        (1.5, 2.0, 0.0),  # good and already likelier: held
        (1.5, -2.0, 3.0),  # bad and likelier: pulled back in full
        (0.5, 2.0, -1.0),  # good and unlikelier: pulled back in full
        (0.5, -2.0, 0.0),  # bad and already unlikelier: held
    ],
)
def test_gradient_of_the_policy_loss_by_case(ratio, advantage, gradient):
    # dL/d(log π) = −ratio·A while the clip does not bind
    logprobs = torch.tensor([[math.log(ratio), 99.0]], requires_grad=True)
    one, nothing = torch.tensor([[advantage, 7.0]]), torch.zeros(1, 2)
    loss, _ = ppo_policy_loss(logprobs, nothing, one, torch.tensor([[1, 0]]), clip_range=0.2)
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(gradient), 0.0]]


def test_a_policy_that_has_not_moved():
    mask = torch.tensor(mask_named("ragged"))
    loss, stats = ppo_policy_loss(tensor(OLD), tensor(OLD), tensor(TARGET), mask)
    assert loss.item() == pytest.approx(-tensor(TARGET)[mask.bool()].mean().item())
    assert {key: value.item() for key, value in stats.items()} == {
        "clip_fraction": 0.0,
        "approx_kl": 0.0,
        "ratio_max_deviation": 0.0,
    }


def test_log_ratios_are_not_clamped():
    _, stats = ppo_policy_loss(torch.tensor([[30.0]]), torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))
    assert stats["ratio_max_deviation"].item() == pytest.approx(math.exp(30.0), rel=1e-6)
    assert stats["approx_kl"].item() == 450.0


def test_a_token_that_has_become_impossible_stays_finite():
    logprobs = torch.tensor([[-1e4, -1.0]], requires_grad=True)
    loss, _ = ppo_policy_loss(logprobs, torch.tensor([[0.0, -1.0]]), torch.tensor([[1.0, 3.0]]), torch.ones(1, 2))
    loss.backward()
    assert loss.item() == -1.5
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[0.0, -1.5]]


def test_a_value_that_moved_within_the_range_is_not_clipped() -> None:
    """Old values and what was added to them do not give the values back in float32, which says nothing of clipping."""
    generator = torch.Generator().manual_seed(0)
    old_values, returns = 0.3 * torch.rand(2, 8, 32, generator=generator) - 0.15
    values = 1e-3 * torch.randn(8, 32, generator=generator)
    assert (old_values + (values - old_values) != values).any()
    _, stats = ppo_value_loss(values, old_values, returns, torch.ones(8, 32), 0.2)
    assert stats["value_clip_fraction"] == 0
