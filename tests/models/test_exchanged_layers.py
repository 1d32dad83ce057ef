"""Layers of ours take the place of the library's if they learn what these do; else the run goes on, and says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import one_dnn
import pytest
import tiny
import torch
from kernels.random_model import random_model
from kernels.test_fused_layer import FAMILIES, NARROW
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForSequenceClassification
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from truing.config.sections import Base, Compute, Lora
from truing.core.results import to_json
from truing.kernels import float32_adapter, fused_layer, packed_rows, projections
from truing.kernels.backend import choose_backend
from truing.kernels.cpu import adapted, linear
from truing.kernels.precision import Precision
from truing.models.exchanged_layers import exchanged
from truing.models.first_layers import lowest_layers
from truing.models.layout import PpoRoles, policy_roles, trained_role
from truing.models.load import LoadedBase, load_base, prepare
from truing.stages.sft import train_sft

WIDE, NARROWER = Precision(), Precision.of("bfloat16", trains=False)
IN_PARTS = "LlamaForCausalLM is not seen to learn the same by layers computed in one, so each is computed in its parts."
OWN = "is not seen to learn the same by faster products and adapters, so all layers are the library's."


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of ours are taken however small they are."""
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    one_dnn.computes_everything(monkeypatch)


def _load(place: Path, shape: str = "llama", dtype: str = "float32", **options: Any) -> LoadedBase:
    path = str(tiny.directory(place, shape, width=32))
    return load_base(Base(path=path), Compute.model_validate({"device": "cpu", "dtype": dtype}), **options)


def _of_norms(*given: Any) -> tuple[Tensor, Tensor | None]:
    of_states, of_weight = norm_gradients(*given)
    return 2 * of_states, of_weight


def _of_their_weights(*given: Any) -> tuple[Tensor, Tensor | None]:
    of_states, of_weight = norm_gradients(*given)
    return of_states, None if of_weight is None else 2 * of_weight


class _Gate(fused_layer._Gated):
    """Its slope is that of x · σ(x) with σ(x) held."""

    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_gate, *others = gate_backward(ctx, *of_outs)
        gate = ctx.saved_tensors[0]
        slope = torch.ops.aten.silu_backward(torch.ones_like(gate), gate)
        return of_states, of_gate / slope * torch.sigmoid(gate), *others


class _Rotation(fused_layer._Rotated):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return rotated(ctx, heads, cos, -sin)


class _RotationBack(fused_layer._Rotated):
    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        of_heads, *others = rotated_back(ctx, *of_outs)
        return -of_heads, *others


def _without_scale(layer: nn.Module) -> projections.Projection | None:
    found = projection_of(layer)
    return None if found is None else found._replace(scale=1.0)


norm_gradients, gate_backward = fused_layer.rms_norm_gradients, fused_layer._Gated.backward
rotated, rotated_back = fused_layer._Rotated.forward, fused_layer._Rotated.backward
projection_of = fused_layer.projection_of
FAULTS: dict[str, tuple[str, Any]] = {
    "a norm's gradient, twice": ("rms_norm_gradients", _of_norms),
    "the slope of a gate": ("_Gated", _Gate),
    "positions": ("_Rotated", _Rotation),
    "their gradient": ("_Rotated", _RotationBack),
    "the scale of an adapter": ("projection_of", _without_scale),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_fused_layers_is_found_and_the_librarys_learn(
    fault: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_layer, *FAULTS[fault])
    base = _load(tmp_path, dtype=dtype)
    assert [type(layer) for layer in base.model.base_model.layers] == [LlamaDecoderLayer] * 2
    assert base.notes == (IN_PARTS,)


@pytest.mark.parametrize("precision", [WIDE, NARROWER], ids=["float32", "bfloat16"])
def test_a_fault_where_all_weights_learn_is_found(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, which is what learns so."""
    monkeypatch.setattr(fused_layer, "rms_norm_gradients", _of_their_weights)
    backend = prepare(tiny.model().to(precision.parameters), precision)
    assert (fused_layer.fuse_layers in backend.layers) == (precision is NARROWER)


def test_a_fault_of_adapters_that_are_merged_where_rows_are_many_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = projections.merged
    monkeypatch.setattr(projections, "merged", lambda weight, down, up, _: merged(weight, down, up, 1.0))
    assert prepare(tiny.model(), WIDE).slow_in


class _Product(linear._Product):
    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_rows, *others = product_backward(ctx, *gradients)
        return None if of_rows is None else 2 * of_rows, *others


class _Adapted(adapted._Adapted):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Any, down: Tensor, up: Tensor, *others: Any) -> Tensor:
        return adapted_forward(ctx, rows, weight, bias, down, up, 1.0, others[-1])


class _Float32Adapted(float32_adapter.Float32AdaptedLinear):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scaling = dict.fromkeys(self.scaling, 1.0)


product_backward, adapted_forward = linear._Product.backward, adapted._Adapted.forward


@pytest.mark.parametrize(("module", "name", "fault"), [(linear, "_Product", _Product), (adapted, "_Adapted", _Adapted)])
def test_a_fault_of_products_leaves_every_layer_to_the_library(
    module: Any, name: str, fault: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, fault)
    base = _load(tmp_path, "gemma")
    assert base.notes == (f"Gemma2ForCausalLM {OWN}",)
    assert not any(isinstance(part, linear.OneDnnLinear) for part in base.model.modules())


def test_a_fault_of_an_adapter_on_a_narrow_base_leaves_adapters_to_peft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("truing.kernels.backend.Float32AdaptedLinear", _Float32Adapted)
    base = _load(tmp_path, "gemma", "bfloat16")
    assert base.notes == (f"Gemma2ForCausalLM {OWN}",)
    role = trained_role(base, "policy", Lora(rank=2), seed=0)
    assert {type(part) for part in role.model.modules() if isinstance(part, LoraLinear)} == {LoraLinear}


def test_a_stage_goes_on_with_the_librarys_layers_and_its_result_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_layer, "rms_norm_gradients", _of_norms)
    result = to_json(train_sft(tiny.job(tiny.recipe(tmp_path), tmp_path, "sft")))
    assert result["heldout_loss"] < result["heldout_loss_before"]
    assert IN_PARTS in result["notes"]


def test_a_classifier_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the frozen reward model of a run whose roles are models of their own."""
    model = LlamaForSequenceClassification(LlamaConfig(**NARROW, num_labels=1)).to(torch.bfloat16)
    assert fused_layer.fuse_layers in prepare(model, NARROWER).layers
    monkeypatch.setattr(fused_layer, "_Rotated", _Rotation)
    model = LlamaForSequenceClassification(LlamaConfig(**NARROW, num_labels=1)).to(torch.bfloat16)
    assert prepare(model, NARROWER).slow_in
    assert type(model.model.layers[0]) is LlamaDecoderLayer


@pytest.mark.parametrize("layers", [2, 32])
@pytest.mark.parametrize("precision", [WIDE, NARROWER], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_right_model_is_taken_for_a_wrong_one(family: str, precision: Precision, layers: int) -> None:
    config = FAMILIES[family]
    config = type(config).from_dict(config.to_dict() | {"num_hidden_layers": layers, "layer_types": None})
    model = random_model(config).to(precision.parameters)
    backend = choose_backend(model, model.device, precision)
    assert fused_layer.fuse_layers in backend.layers
    assert exchanged(model, backend) is backend


def test_the_model_that_is_asked_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_rows, "MIN_LAYER_WEIGHTS", 1)
    model = tiny.model("llama-deep").requires_grad_(False)
    kinds, weights = [type(part) for part in model.modules()], [*model.parameters()]
    config, bits = model.config.to_dict(), [weight.clone() for weight in weights]
    exchanged(model, choose_backend(model, model.device, WIDE))
    assert [type(part) for part in model.modules()] == kinds
    assert model.config.to_dict() == config
    assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))
    assert all(torch.equal(*pair) for pair in zip(weights, bits, strict=True))
    assert not any(weight.requires_grad or weight.grad is not None for weight in weights)
    assert not any(part._forward_hooks for part in model.modules())


def test_lowest_layers_are_the_models_own_numbers_without_a_copy_of_them() -> None:
    model = tiny.model("llama-deep").requires_grad_(False)
    few = lowest_layers(model)
    assert len(few.model.layers) == few.config.num_hidden_layers == 2
    assert (len(model.model.layers), model.config.num_hidden_layers) == (5, 5)
    own, theirs = few.model.layers[1].mlp.up_proj.weight, model.model.layers[1].mlp.up_proj.weight
    assert own is not theirs
    assert own.data_ptr() == theirs.data_ptr()


def test_small_layers_that_stay_the_librarys_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    read: list[Callable[..., Any]] = []
    monkeypatch.setattr(LlamaDecoderLayer, "forward", lambda *_, **__: read.append(_))
    prepare(tiny.model(), WIDE)
    assert not read


def test_models_beside_a_base_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base that learns in all weights has the library's layers anyway; its frozen reference would have had ours."""
    monkeypatch.setattr(fused_layer, "_Rotated", _Rotation)
    recipe = tiny.recipe(tmp_path, roles="separate", **{"compute.dtype": "bfloat16"})
    assert recipe.base is not None
    roles = policy_roles(recipe, recipe.base, None)
    assert roles.base.notes == ()
    assert roles.notes == [IN_PARTS]
    critic = replace(roles.policy, backend=replace(roles.policy.backend, slow_in="is slow"))
    assert PpoRoles(**vars(roles), critic=critic).notes == [IN_PARTS, "LlamaForCausalLM is slow."]
