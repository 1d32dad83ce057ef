import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import episodes
from oracles.cases import MASKS, draw, mask_named, tensor

from truing.functional import masked_mean, masked_whiten


@pytest.mark.parametrize("name", MASKS)
def test_mean_is_over_counted_entries(name):
    mask, x = mask_named(name), draw(0, 3, 4)
    expected = episodes.mean(episodes.counted_values(x, mask))
    assert masked_mean(tensor(x, mask), torch.tensor(mask)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", MASKS)
def test_mean_along_a_dimension(name):
    mask, x = mask_named(name), draw(0, 3, 4)
    rows = [episodes.mean([x[b, t] for t in positions]) for b, positions in episodes.counted_positions(mask)]
    columns = [episodes.mean([x[b, t] for b in positions]) for t, positions in episodes.counted_positions(mask.T)]
    for dim, expected in ((1, rows), (-1, rows), (0, columns)):
        np.testing.assert_allclose(masked_mean(tensor(x, mask), torch.tensor(mask), dim=dim), expected)


def test_mean_of_nothing_is_zero_with_zero_gradient():
    x = torch.full((2, 3), float("inf"), requires_grad=True)
    mean = masked_mean(x, torch.zeros(2, 3))
    mean.backward()
    assert mean.item() == 0
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("shift_mean", [True, False])
@pytest.mark.parametrize("name", [name for name in MASKS if name != "one token"])
def test_whitening(name, shift_mean):
    mask, x = mask_named(name), draw(1, 3, 4, scale=3.0) + 5
    actual = masked_whiten(tensor(x, mask), torch.tensor(mask), shift_mean=shift_mean)
    np.testing.assert_allclose(actual, episodes.whiten(x, mask, shift_mean), rtol=1e-6, atol=1e-8)


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=30).filter(lambda v: len(set(v)) > 1), st.booleans())
def test_whitened_values_have_unit_population_variance(values, shift_mean):
    x = torch.tensor([[float(v) for v in values] + [1e4]], dtype=torch.float64)
    mask = torch.tensor([[1] * len(values) + [0]])
    whitened = masked_whiten(x, mask, shift_mean=shift_mean)[0, :-1].numpy()
    assert np.var(whitened) == pytest.approx(1, rel=1e-5)
    assert np.mean(whitened) == pytest.approx(0 if shift_mean else np.mean(values), abs=1e-9)


def test_values_that_do_not_vary_whiten_to_zero():
    x = torch.full((2, 3), 7.0, requires_grad=True)
    whitened = masked_whiten(x, torch.tensor([[1, 0, 1], [1, 0, 0]]))
    whitened.sum().backward()
    assert whitened.abs().max() == 0
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
