import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import episodes
from oracles.cases import MASKS, draw, mask_named, tensor

from truing.functional import gae

REWARDS, VALUES = draw(0, 3, 4), draw(1, 3, 4)


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("name", MASKS)
def test_advantages_and_returns(name, gamma, gae_lambda):
    mask = mask_named(name)
    actual = gae(tensor(REWARDS, mask), tensor(VALUES, mask), torch.tensor(mask), gamma, gae_lambda)
    expected = episodes.gae(REWARDS, VALUES, mask, gamma, gae_lambda)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-12)
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-12)


@pytest.mark.parametrize("after_the_end", [5.0, 1e4, float("inf")])
def test_the_value_after_the_end_is_zero(after_the_end):
    values = torch.tensor([[0.5, 0.25, after_the_end]])
    rewards = torch.tensor([[0.0, 2.0, after_the_end]])
    advantages, returns = gae(rewards, values, torch.tensor([[1, 1, 0]]), gae_lambda=0.0)
    assert advantages.tolist() == [[0.25 - 0.5, 2.0 - 0.25, 0.0]]
    assert returns.tolist() == [[0.25, 2.0, 0.0]]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8), st.integers(0, 3))
def test_without_discount_the_advantage_is_reward_to_go_minus_value(steps, padding):
    rewards, values = ([step[i] for step in steps] + [9.0] * padding for i in (0, 1))
    mask = torch.tensor([[1.0] * len(steps) + [0.0] * padding])
    to_go = [sum(rewards[t : len(steps)]) for t in range(len(steps))]
    advantages, returns = gae(
        torch.tensor([rewards], dtype=torch.float64), torch.tensor([values], dtype=torch.float64), mask, 1.0, 1.0
    )
    off = [0.0] * padding
    expected = [g - v for g, v in zip(to_go, values[: len(steps)], strict=True)]
    np.testing.assert_allclose(returns[0], to_go + off, atol=1e-9)
    np.testing.assert_allclose(advantages[0], expected + off, atol=1e-9)


def test_rows_do_not_touch_one_another():
    mask = torch.tensor(mask_named("ragged"))
    together, _ = gae(tensor(REWARDS), tensor(VALUES), mask)
    alone = [gae(tensor(REWARDS[b : b + 1]), tensor(VALUES[b : b + 1]), mask[b : b + 1])[0] for b in range(3)]
    assert torch.equal(together, torch.cat(alone))
