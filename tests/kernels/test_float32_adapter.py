"""A float32 adapter on a layer in bfloat16 computes what PEFT's own does, in bfloat16 but for its rounding."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor

from truing.config.sections import Lora
from truing.kernels.float32_adapter import Float32AdaptedLinear
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.load import prepare
from truing.models.roles import Role
from truing.models.save import merge

HALF = torch.bfloat16


@pytest.fixture
def adapters() -> Adapters:
    """Two adapters that do something, on a model in bfloat16 whose layers have biases."""
    model = tiny.model("qwen").to(HALF)
    made = Adapters(model, Lora(rank=3, alpha=7.0), 0, prepare(model, Precision.of("bfloat16", trains=False)))
    for seed, name in enumerate(("one", "two")):
        made.add(name)
        with torch.no_grad():
            for weight in made.parameters(name):
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    return made


def _layer(adapters: Adapters) -> Float32AdaptedLinear:
    return next(part for part in adapters.peft.modules() if isinstance(part, Float32AdaptedLinear))


def _run(layer: LoraLinear, name: str, dtype: torch.dtype, forward: Any = Float32AdaptedLinear.forward) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    given = torch.randn(2, 50, layer.in_features, generator=random).to(HALF).to(dtype).requires_grad_()
    out = forward(layer, given)
    learnt: list[Any] = [layer.lora_A[name].weight, layer.lora_B[name].weight]
    slopes = torch.randn(out.shape, generator=random).to(HALF).to(dtype)
    return [out, *torch.autograd.grad(out, [given, *learnt], slopes)]


@pytest.mark.parametrize("name", ["one", "two"])
def test_in_float32_as_pefts_own_layer(adapters: Adapters, name: str) -> None:
    adapters.select(name)
    layer = _layer(adapters).float()
    theirs = _run(layer, name, torch.float32, LoraLinear.forward)
    for found, expected in zip(_run(layer, name, torch.float32), theirs, strict=True):
        assert found.dtype == expected.dtype
        assert torch.dist(found, expected) <= 1e-6 * expected.norm()


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("size", [1.0, 0.1])
def test_in_bfloat16_within_three_roundings(adapters: Adapters, name: str, size: float) -> None:
    """Of an adapter that is small beside its base, what comes out is as near as PEFT's, which rounds twice."""
    adapters.select(name)
    layer = _layer(adapters)
    with torch.no_grad():
        for weight in adapters.parameters(name):
            weight.mul_(size)
    ours, theirs = _run(layer, name, HALF), _run(layer, name, HALF, LoraLinear.forward)
    truth = _run(deepcopy(layer).double(), name, torch.float64, LoraLinear.forward)
    for found, peft, true in zip(ours, theirs, truth, strict=True):
        assert found.dtype == peft.dtype  # of the adapter, in float32
        rounding = torch.dist(true.to(HALF).double(), true)
        assert torch.dist(found.double(), true) <= 3 * rounding
        if size < 1 and found.dtype == HALF:
            assert torch.dist(found.double(), true) <= 1.05 * torch.dist(peft.double(), true)


def test_a_gradient_that_others_read_too_is_left_as_it_is(adapters: Adapters) -> None:
    adapters.select("one")
    layer = _layer(adapters).float()
    out = layer(torch.ones(3, layer.in_features))
    gradient = torch.ones_like(out)
    out.backward(gradient)
    assert torch.equal(gradient, torch.ones_like(out))


def test_without_an_adapter_it_is_its_base(adapters: Adapters) -> None:
    adapters.select(None)
    layer = _layer(adapters)
    rows = torch.ones(3, layer.in_features, dtype=HALF)
    assert torch.equal(layer(rows), layer.base_layer(rows))


def test_what_came_in_is_kept_as_it_came(adapters: Adapters) -> None:
    """Beside it and the adapter, what is kept is as wide as the adapter's rank, and nothing is in float32."""
    adapters.select("one")
    layer = _layer(adapters)
    kept: list[Tensor] = []
    rows = torch.randn(5, layer.in_features).to(HALF).requires_grad_()

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(rows)
    of_rows = [tensor for tensor in kept if len(tensor) == len(rows)]
    assert any(tensor is rows for tensor in of_rows)
    assert {tensor.shape[-1] for tensor in of_rows if tensor is not rows} == {3}
    assert {tensor.dtype for tensor in kept} == {HALF}


def test_a_role_learns_by_it_and_is_merged_as_by_pefts(adapters: Adapters, tmp_path: Path) -> None:
    role = Role(adapters.peft.get_base_model(), adapters, "one")  # type: ignore[arg-type]
    tokens = torch.arange(6)[None]
    before = role.hidden(tokens, torch.ones_like(tokens))
    after = Role(merge(role)).hidden(tokens, torch.ones_like(tokens))
    torch.testing.assert_close(after, before, atol=0.1, rtol=0.1)
