"""An adapted layer computes what PEFT's own does, forward and backward, for many rows and for few."""

from pathlib import Path
from typing import Any
from weakref import ref

import one_dnn
import pytest
import tiny
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch.utils._python_dispatch import TorchDispatchMode

from truing.config.sections import Lora
from truing.kernels import products
from truing.kernels.cpu.adapted import AdaptedLinear
from truing.kernels.precision import Precision
from truing.kernels.products import merges
from truing.models.adapters import Adapters
from truing.models.load import prepare
from truing.models.roles import Role
from truing.models.save import merge, save_adapter


def _fresh(shape: str = "qwen") -> Adapters:
    model = tiny.model(shape)
    return Adapters(model, Lora(rank=3, alpha=7.0), 0, prepare(model, Precision()))


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> Adapters:
    """Two adapters that do something, on a model whose layers are all oneDNN's."""
    one_dnn.computes_everything(monkeypatch)
    made = _fresh()
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
@pytest.mark.parametrize("rank", [2, 3])
def test_as_pefts_own_layer(
    adapters: Adapters, name: str, rows: int, few: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rank 3, above and below what PyTorch's own product takes."""
    monkeypatch.setattr(products, "NARROW_ROWS", few)
    monkeypatch.setattr(products, "PLAIN_RANK", rank)
    adapters.select(name)
    layer = _layer(adapters)
    ours = _run(layer, name, rows)
    monkeypatch.setattr(AdaptedLinear, "forward", LoraLinear.forward)
    for found, expected in zip(ours, _run(layer, name, rows), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


class _Made(TorchDispatchMode):
    """Notes all tensors of a shape that anything makes."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape, self.found = shape, list[ref[torch.Tensor]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.shape == self.shape:
            self.found.append(ref(made))
        return made


@pytest.mark.parametrize(("rows", "merged"), [(1, False), (15, False), (16, True), (40, True)])
@pytest.mark.parametrize("name", ["one", "two"])
def test_without_a_gradient_many_rows_meet_the_adapter_merged(
    adapters: Adapters, name: str, rows: int, merged: bool
) -> None:
    """Twice so many rows, of width 16 each: from 32 in all on there are twice as many as columns."""
    adapters.select(name)
    layer = _layer(adapters)
    assert layer.weight.shape == (16, 16)
    base = layer.weight.clone()
    given = torch.randn(2, rows, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), _Made(base.shape) as made:
        found = layer(given)
        assert len(made.found) == merged
        torch.testing.assert_close(found, LoraLinear.forward(layer, given), atol=1e-5, rtol=1e-5)
    assert torch.equal(layer.weight, base)
    assert not any(one() is not None for one in made.found), "the merged copy is still there"


def test_rows_are_tall_where_they_are_twice_as_many_as_columns() -> None:
    assert [merges(torch.empty(2, rows, 3)) for rows in (2, 3, 4)] == [False, True, True]


def test_without_an_adapter_in_force_it_is_the_base(adapters: Adapters) -> None:
    layer = _layer(adapters)
    rows = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(2))
    adapters.select(None)
    with torch.no_grad():
        torch.testing.assert_close(layer(rows), torch.nn.functional.linear(rows, layer.weight, layer.base_layer.bias))


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_first_weights_are_those_that_pefts_own_layers_draw(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one_dnn.computes_everything(monkeypatch)
    ours, plain = _fresh(shape), Adapters(tiny.model(shape), Lora(rank=3, alpha=7.0), seed=0)
    for made in (ours, plain):
        made.add("one")
    assert any(isinstance(part, AdaptedLinear) for part in ours.peft.modules()) == (shape != "gpt2")  # its own kind
    assert not any(isinstance(part, AdaptedLinear) for part in plain.peft.modules())
    found, expected = ours.named_parameters("one"), plain.named_parameters("one")
    assert found.keys() == expected.keys()
    assert all(torch.equal(weight, expected[path]) for path, weight in found.items())


def test_a_saved_adapter_is_loaded_into_such_layers_and_merged_as_it_was(adapters: Adapters, tmp_path: Path) -> None:
    save_adapter(Role(adapters.peft.get_base_model(), adapters, "two"), tmp_path)
    loaded = _fresh()
    loaded.load("again", str(tmp_path))
    kinds = [type(part) for made in (adapters, loaded) for part in made.peft.modules() if isinstance(part, LoraLinear)]
    assert set(kinds) == {AdaptedLinear}
    saved = adapters.named_parameters("two")
    assert all(torch.equal(weight, saved[path]) for path, weight in loaded.named_parameters("again").items())
    assert all(weight.requires_grad for weight in loaded.parameters("again"))
    models = [
        merge(Role(made.peft.get_base_model(), made, name)) for made, name in ((adapters, "two"), (loaded, "again"))
    ]
    plain = tiny.model("qwen").state_dict()
    merged, expected = (model.state_dict() for model in models)
    assert merged.keys() == expected.keys() == plain.keys()
    assert all(torch.equal(weight, expected[path]) for path, weight in merged.items())
    assert any(not torch.equal(weight, plain[path]) for path, weight in merged.items())
