"""An adapted layer computes what PEFT's own does, forward and backward, for many rows and for few."""

import pytest
import tiny
import torch
from peft.tuners.lora.layer import Linear as LoraLinear

from truing.config.sections import Lora
from truing.kernels import adapted, linear
from truing.kernels.adapted import AdaptedLinear
from truing.kernels.linear import use_onednn_linears
from truing.models.roles import Adapters


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> Adapters:
    """Two adapters that do something, on a model whose layers are all oneDNN's."""
    monkeypatch.setattr(linear, "SMALLEST", 1)
    model = tiny.model("qwen")
    use_onednn_linears(model)
    model.requires_grad_(False)
    made = Adapters(model, Lora(rank=3, alpha=7.0), seed=0)
    made.add("one")
    made.add("two")
    with torch.no_grad():
        for name in ("one", "two"):
            for weight in made.parameters(name):
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name + name))))
    return made


def _layer(adapters: Adapters) -> AdaptedLinear:
    layer = next(part for part in adapters.peft.modules() if isinstance(part, AdaptedLinear))
    assert layer.base_layer.bias is not None  # Qwen's
    return layer


def _run(layer: LoraLinear, name: str, rows: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    given = torch.randn(2, rows, layer.in_features, generator=random).requires_grad_()
    out = layer(given)
    learnt = [layer.lora_A[name].weight, layer.lora_B[name].weight]
    gradient = torch.randn(out.shape, generator=random)
    return [out, *torch.autograd.grad(out, [given, *learnt], gradient)]


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("few", [0, 64, 1000])
def test_as_pefts_own_layer(
    adapters: Adapters, name: str, rows: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapted, "FEW", few)
    adapters.select(name)
    layer = _layer(adapters)
    ours = _run(layer, name, rows)
    layer.__class__ = LoraLinear
    for found, expected in zip(ours, _run(layer, name, rows), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_without_an_adapter_in_force_it_is_the_base(adapters: Adapters) -> None:
    layer = _layer(adapters)
    rows = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(2))
    adapters.select(None)
    with torch.no_grad():
        torch.testing.assert_close(layer(rows), torch.nn.functional.linear(rows, layer.weight, layer.base_layer.bias))
