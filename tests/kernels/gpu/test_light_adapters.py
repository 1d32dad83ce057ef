"""While a policy samples, its adapter costs little and gives what it gives in learning; then all is as it was."""

import pytest
import tiny
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from truing.config.sections import Lora
from truing.kernels.gpu.light_adapters import light_adapter
from truing.models.adapters import Adapters
from truing.models.roles import Role

TOKENS = torch.tensor([[1, 2, 3, 4], [9, 8, 7, 6]])


def _adapted(shape: str, dtype: torch.dtype, scale: float) -> Role:
    model = tiny.model(shape, width=32).to(dtype)
    model.requires_grad_(False)
    adapters = Adapters(model, Lora(rank=4), 0)
    adapters.add("policy")
    with torch.no_grad():
        for place, weight in enumerate(adapters.parameters("policy")):
            weight.copy_(scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(place)))
    return Role(model, adapters, "policy")


@torch.no_grad()
def _hidden(role: Role) -> Tensor:
    return role.hidden(TOKENS, torch.ones_like(TOKENS))


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
def test_states_are_those_of_the_library_and_no_layer_of_its_adapters_is_called(
    shape: str, dtype: torch.dtype, allowed: float
) -> None:
    role = _adapted(shape, dtype, 0.3)
    expected, before = _hidden(role), dict(role.model.named_parameters())
    bytes_before = {name: weight.clone() for name, weight in before.items()}
    layers = [layer for layer in role.model.modules() if isinstance(layer, LoraLayer)]
    called: list[object] = []
    hooks = [layer.lora_A["policy"].register_forward_hook(lambda *given: called.append(given)) for layer in layers]
    with light_adapter(role.model, "policy"):
        found = _hidden(role)
        assert not called
    torch.testing.assert_close(found, expected, atol=allowed, rtol=allowed)
    after = dict(role.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(weight is before[name] and torch.equal(weight, bytes_before[name]) for name, weight in after.items())
    assert torch.equal(_hidden(role), expected)
    assert len(called) == len(layers)
    for hook in hooks:
        hook.remove()


def test_what_is_small_beside_a_narrow_weight_is_not_lost() -> None:
    """W + δ rounded to bfloat16 is W where δ is below half of its last place: a policy would sample as it began."""
    role = _adapted("llama", torch.bfloat16, 0.003)
    layer = role.model.model.layers[0].mlp.down_proj
    rows = torch.randn(64, layer.in_features, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight, delta = layer.get_base_layer().weight, layer.get_delta_weight("policy").float()
    rounded = (weight.float() + delta).bfloat16().float() - weight.float()
    assert (rounded - delta).norm() > 0.5 * delta.norm()  # as merging would have it
    narrow = []
    with torch.no_grad(), light_adapter(role.model, "policy"):
        layer.get_base_layer().register_forward_hook(lambda *_: torch.zeros(64, layer.out_features).bfloat16())
        narrow.append(layer(rows).float())
    expected = rows.float() @ delta.t()
    assert (narrow[0] - expected).norm() < 0.02 * expected.norm()
