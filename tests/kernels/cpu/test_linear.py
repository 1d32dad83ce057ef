"""Linear layers by oneDNN give what the formula gives, packed or not, and keep the model's own parameters."""

from contextlib import nullcontext
from unittest.mock import Mock

import numpy as np
import one_dnn
import pytest
import tiny
import torch
from torch import nn

from truing.kernels.cpu import linear
from truing.kernels.cpu.linear import OneDnnLinear, prepacked, use_onednn_linears

RANDOM = np.random.default_rng(0)
ROWS, WEIGHT, BIAS, GRADIENT = (RANDOM.normal(size=shape) for shape in [(3, 5, 7), (4, 7), (4,), (3, 5, 4)])


@pytest.fixture(autouse=True)
def _however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    one_dnn.computes_everything(monkeypatch)


def _layer(bias: bool = True, trained: bool = True) -> OneDnnLinear:
    plain = nn.Linear(7, 4, bias=bias)
    plain.weight = nn.Parameter(torch.tensor(WEIGHT, dtype=torch.float32), requires_grad=trained)
    if bias:
        plain.bias = nn.Parameter(torch.tensor(BIAS, dtype=torch.float32), requires_grad=trained)
    return OneDnnLinear(plain)


def _rows() -> torch.Tensor:
    return torch.tensor(ROWS, dtype=torch.float32, requires_grad=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pack", [True, False])
def test_forward_and_gradients_are_the_formulas(bias: bool, pack: bool) -> None:
    layer, rows = _layer(bias), _rows()
    with prepacked(layer) if pack else nullcontext():
        assert (layer.prepacked is not None) == pack
        out = layer(rows)
    out.backward(torch.tensor(GRADIENT, dtype=torch.float32))
    np.testing.assert_allclose(out.detach(), ROWS @ WEIGHT.T + (BIAS if bias else 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rows.grad, GRADIENT @ WEIGHT, rtol=1e-5, atol=1e-5)
    expected = np.einsum("abo,abi->oi", GRADIENT, ROWS)
    np.testing.assert_allclose(layer.weight.grad, expected, rtol=1e-5, atol=1e-5)
    if bias:
        np.testing.assert_allclose(layer.bias.grad, GRADIENT.sum((0, 1)), rtol=1e-5, atol=1e-5)


def test_a_frozen_layer_passes_the_gradient_on_and_keeps_no_input() -> None:
    layer, rows = _layer(trained=False), _rows()
    out = layer(rows)
    assert out.grad_fn.saved_tensors[0] is None  # type: ignore[union-attr]
    out.backward(torch.tensor(GRADIENT, dtype=torch.float32))
    np.testing.assert_allclose(rows.grad, GRADIENT @ WEIGHT, rtol=1e-5, atol=1e-5)
    assert layer.weight.grad is None


def test_prepacking_that_fails_halfway_leaves_nothing_prepacked(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _layer(), _layer()
    monkeypatch.setattr(linear, "reordered", Mock(side_effect=[first.weight.clone(), MemoryError]))
    with pytest.raises(MemoryError), prepacked(nn.ModuleList([first, second])):
        pass
    assert first.prepacked is None


def test_weights_are_prepacked_for_the_block_alone() -> None:
    layer = _layer()
    with prepacked(nn.ModuleList([layer])):
        assert layer.prepacked is not None
    assert layer.prepacked is None
    with torch.no_grad():
        layer.weight.mul_(2)
        np.testing.assert_allclose(layer(_rows()), ROWS @ (2 * WEIGHT.T) + BIAS, rtol=1e-5, atol=1e-5)


def test_another_precision_is_left_to_torch() -> None:
    layer = _layer().double()
    np.testing.assert_allclose(layer(torch.tensor(ROWS)).detach(), ROWS @ WEIGHT.T + BIAS, rtol=1e-6)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_model_with_fast_layers_is_the_same_model(shape: str) -> None:
    plain, quick = tiny.model(shape), tiny.model(shape)
    names = {name: id(weight) for name, weight in quick.named_parameters()}
    use_onednn_linears(quick)
    assert {name: id(weight) for name, weight in quick.named_parameters()} == names
    assert plain.state_dict().keys() == quick.state_dict().keys()
    assert any(isinstance(layer, OneDnnLinear) for layer in quick.modules())
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        torch.testing.assert_close(quick(tokens).logits, plain(tokens).logits, atol=1e-5, rtol=1e-5)


def test_small_weights_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MIN_WEIGHTS", 1 << 16)
    model = tiny.model()
    use_onednn_linears(model)
    assert not any(isinstance(layer, OneDnnLinear) for layer in model.modules())
