"""The step that a GPU decodes by gives what the model's own layers give: every family, precision, adapters, padding."""

from typing import Any

import pytest
import tiny
import torch
from fake_device import FAKE, fake_device
from kernels.random_model import random_model
from kernels.whole_rows import (
    FAMILIES,
    OF_ONE_LENGTH,
    PAD,
    PROMPTS,
    Read,
    adapted,
    decoded,
    decodes_like_whole_rows,
    whole,
)
from torch import Tensor, nn

from truing.config.sections import Lora
from truing.kernels import fused_backbone
from truing.kernels.backend import choose_backend
from truing.kernels.gpu import side_by_side, static_step
from truing.kernels.gpu.light_adapters import light_decoding
from truing.kernels.gpu.side_by_side import SideBySide
from truing.kernels.gpu.static_step import StaticStep, copies_products
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.exactness import exact_backend
from truing.models.roles import Role

GPU, HALF = torch.device("cuda"), torch.bfloat16
"""What a backend is chosen for; all is computed on the CPU"""
NARROW = {"bfloat16": Precision(HALF, HALF), "mixed": Precision(torch.float32, HALF)}
AS_EXACT = 1.5
"""Times the error of the library's own layers, all states together, that ours may have"""


def _role(family: str, precision: Precision) -> Role:
    model = random_model(FAMILIES[family]).to(precision.parameters)
    return adapted(model, choose_backend(model, GPU, precision))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompts", [PROMPTS, *OF_ONE_LENGTH.values()], ids=["padded", *OF_ONE_LENGTH])
def test_states_are_those_of_the_models_own_layers(family: str, prompts: list[list[int]]) -> None:
    role = _role(family, Precision())
    with role.decoding() as step:
        assert isinstance(step, StaticStep)
        decodes_like_whole_rows(role, step, prompts)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("most", [side_by_side.MOST_COPIED, 0], ids=["small", "large"])
def test_in_bfloat16_they_are_as_near_to_the_truth(
    family: str, precision: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth is in float32, and what is as near are whole rows by the model's own layers."""
    monkeypatch.setattr(static_step, "MOST_COPIED", most)
    exact, role = _role(family, Precision()), _role(family, NARROW[precision])
    exact.model.load_state_dict(role.model.state_dict())
    with role.decoding() as step:
        assert isinstance(step, StaticStep)
        read = decoded(role, step, PROMPTS)
    ours, theirs = (_states(read), _states([whole(role, one) for one in read]))
    truth = _states([whole(exact, one) for one in read])
    assert (ours - truth).norm() <= AS_EXACT * (theirs - truth).norm()


def _states(found: list[Read]) -> Tensor:
    return torch.cat([state.flatten().float() for one in found for state in (*one.states, *one.prefix_states)])


@torch.no_grad()
@pytest.mark.parametrize("copies", [True, False])
def test_only_some_layers_beside_each_other_may_bear_an_adapter(copies: bool) -> None:
    """x·[Q, K, V]ᵀ with adapters on Q and V, as those have it who leave out the others."""
    model = tiny.model("qwen", width=32).to(HALF)
    adapters = Adapters(model, Lora(rank=3), 0)
    adapters.add("policy")
    random = torch.Generator().manual_seed(0)
    for weight in adapters.parameters("policy"):
        weight.copy_(torch.randn(weight.shape, generator=random))
    attention: Any = model.model.layers[0].self_attn  # type: ignore[attr-defined]
    attention.k_proj = attention.k_proj.base_layer
    layers: list[Any] = [attention.q_proj, attention.k_proj, attention.v_proj]
    rows = torch.randn(5, 32, generator=random).to(HALF)
    found = SideBySide("policy", HALF, copies, *layers)(rows)
    expected = []
    for layer in layers:
        base = getattr(layer, "base_layer", layer)
        wide = rows.double() @ base.weight.double().t() + base.bias.double()
        if layer is not attention.k_proj:
            factors = layer.lora_A["policy"].weight.double(), layer.lora_B["policy"].weight.double()
            wide += rows.double() @ factors[0].t() @ factors[1].t() * layer.scaling["policy"]
        expected.append(wide)
    truth = torch.cat(expected, -1)
    assert (found - truth).abs().max() <= 0.01 * truth.abs().max()


def test_no_hook_of_a_module_is_called_in_a_step() -> None:
    """As FSDP puts them on what it has sharded, embeddings among it: they have streams wait for each other."""
    role, called = _role("llama", Precision()), list[str]()
    with role.decoding() as step:

        class Watched(StaticStep):
            def __init__(self) -> None:
                pass

            def __call__(self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> Any:
                assert step is not None
                hooks = [
                    module.register_forward_pre_hook(lambda module, _: called.append(type(module).__name__))
                    for module in (role.model.model.embed_tokens, *role.model.model.layers, role.model.model.norm)
                ]
                found = step(tokens, mask, cache)
                for hook in hooks:
                    hook.remove()
                return found

        decodes_like_whole_rows(role, Watched(), PROMPTS)
    assert called == []


def test_layers_are_copied_in_bfloat16_where_they_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    assert copies_products(model)
    assert not copies_products(tiny.model("gpt2"))
    monkeypatch.setattr(model, "is_quantized", True, raising=False)
    assert not copies_products(model)
    monkeypatch.undo()
    monkeypatch.setattr(static_step, "MOST_COPIED", 100)
    assert not copies_products(model)


def test_a_mask_has_rows_that_kernels_take_as_they_are() -> None:
    """A multiple of eight numbers from one to the next; others would be copied at each layer."""
    widths: list[int] = []
    role = _role("llama", Precision())
    with role.decoding() as step:
        assert step is not None

        class Seen(StaticStep):
            def __init__(self) -> None:
                pass

            def __call__(self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> Any:
                widths.extend([mask.shape[1], *(layer.keys.shape[2] for layer in cache.layers)])
                return step(tokens, mask, cache)

        decodes_like_whole_rows(role, Seen(), OF_ONE_LENGTH["one token"])
    assert set(widths) == {8}  # a token of a prompt, and three


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("is_broken", [False, True])
def test_a_step_that_is_not_exact_is_left_and_told(
    dtype: torch.dtype, is_broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are turned the other way."""
    plain = fused_backbone._Layer.rotation
    if is_broken:
        monkeypatch.setattr(fused_backbone._Layer, "rotation", lambda layer, cos, sin: plain(layer, cos, -sin))
    with fake_device():
        model: nn.Module = tiny.model().to(dtype).to(FAKE)
        backend, notes = exact_backend(model, choose_backend(model, FAKE, Precision(dtype, dtype)), PAD)  # type: ignore[arg-type]
    assert (backend.decoding is light_decoding) == is_broken
    assert any("samples by its own layers" in note for note in notes) == is_broken
