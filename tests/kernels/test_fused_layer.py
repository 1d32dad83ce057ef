"""A fused layer gives what the library's own gives, forward and backward, and leaves alone what it does not know."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import one_dnn
import pytest
import tiny
import torch
from kernels.random_model import families, random_model
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd import gradcheck
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

from truing.config.sections import Lora
from truing.kernels import fused_layer, products
from truing.kernels.backbone import is_known
from truing.kernels.checkpointing import checkpoint_layers
from truing.kernels.fused_layer import _Added, _Gated, _Normed, _Rotated
from truing.kernels.precision import Precision
from truing.kernels.projections import Projection, flat
from truing.models.adapters import Adapters
from truing.models.load import prepare
from truing.models.prefix import frozen_prefix_of
from truing.models.roles import Role

NARROW: dict[str, Any] = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
FAMILIES = families(head_dim=8, **NARROW)
TOKENS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 2]])
RAGGED = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
ADAPTER = "policy"
CPU, WIDE = torch.device("cpu"), Precision()


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are fused however small they are."""
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    one_dnn.computes_everything(monkeypatch)


def _fuse(model: PreTrainedModel, precision: Precision = WIDE) -> None:
    """As the backend of a CPU does."""
    if fused_layer.fuses_layers(model, CPU, precision):
        fused_layer.fuse_layers(model)


def _both(config: PretrainedConfig, targets: Any = None) -> tuple[Role, Role]:
    """A role on fused layers and one on the library's own, on the same weights; with an adapter on these `targets`."""
    plain = random_model(config)
    fused = deepcopy(plain)
    backend = prepare(fused, Precision())
    assert type(fused.base_model.layers[0]) is not type(plain.base_model.layers[0])
    if targets is None:
        return Role(fused, backend=backend), Role(plain)
    roles = []
    for model, own in ((fused, backend), (plain, None)):
        adapters = Adapters(model, Lora(rank=2, alpha=6.0, targets=targets), 0, own)
        adapters.add(ADAPTER)
        with torch.no_grad():
            for place, weight in enumerate(adapters.parameters(ADAPTER)):
                weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(place)))
        roles.append(Role(model, adapters, ADAPTER, **({} if own is None else {"backend": own})))
    return roles[0], roles[1]


def _learnt(role: Role, mask: Tensor) -> list[Tensor]:
    """Hidden states that are no padding, and the gradient of each weight that has one."""
    hidden = role.hidden(TOKENS, mask)[mask.bool()]
    weights = [weight for weight in role.named_parameters().values() if weight.requires_grad]
    slopes = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))
    return [hidden.detach(), *torch.autograd.grad(hidden, weights, slopes, allow_unused=True, materialize_grads=True)]


def _assert_alike(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.dist(found, expected) <= 1e-5 * expected.norm()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mask", [torch.ones_like(TOKENS), RAGGED], ids=["whole", "ragged"])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj", "up_proj"]], ids=str)
@pytest.mark.parametrize("tall", [0, 1000], ids=["merged", "beside"])
def test_adapters_learn_as_on_the_librarys_layers(
    family: str, mask: Tensor, targets: Any, tall: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "TALL", tall)
    ours, theirs = _both(FAMILIES[family], targets)
    _assert_alike(_learnt(ours, mask), _learnt(theirs, mask))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mask", [torch.ones_like(TOKENS), RAGGED], ids=["whole", "ragged"])
def test_all_weights_learn_as_in_the_librarys_layers(family: str, mask: Tensor) -> None:
    roles = _both(FAMILIES[family])
    for role in roles:
        role.model.requires_grad_(True)
    _assert_alike(*(_learnt(role, mask) for role in roles))


@pytest.mark.parametrize("targets", [None, "all-linear"], ids=["all weights", "adapter"])
def test_layers_that_run_again_learn_alike(targets: str | None) -> None:
    ours, theirs = _both(FAMILIES["llama"], targets)
    checkpoint_layers(ours.model)
    if targets is None:
        ours.model.requires_grad_(True)
        theirs.model.requires_grad_(True)
    _assert_alike(_learnt(ours, RAGGED), _learnt(theirs, RAGGED))


def test_a_frozen_prefix_is_seen_and_skipped() -> None:
    model = random_model(FAMILIES["llama"])
    role = Role(model, backend=prepare(model, Precision()), prefix=frozen_prefix_of(model, 1))
    assert role.prefix is not None
    whole = torch.ones_like(TOKENS)
    with torch.no_grad(), role.prefix.capture() as states:
        hidden = role.hidden(TOKENS, whole)
    torch.testing.assert_close(role.hidden(TOKENS, whole, states[0]), hidden)


def _seen(role: Role, monkeypatch: pytest.MonkeyPatch, mask: Tensor = RAGGED) -> bool:
    """Whether its own layers were called."""
    calls = []
    forward = LlamaDecoderLayer.forward
    monkeypatch.setattr(LlamaDecoderLayer, "forward", lambda *args, **named: calls.append(1) or forward(*args, **named))
    role.forward(TOKENS, mask)
    return bool(calls)


def test_what_watches_a_part_of_a_layer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    role, _ = _both(FAMILIES["llama"], "all-linear")
    assert not _seen(role, monkeypatch)
    told: list[nn.Module] = []
    hook = role.model.base_model.layers[1].mlp.register_forward_hook(lambda module, *_: told.append(module))
    assert _seen(role, monkeypatch)
    assert len(told) == 1
    hook.remove()
    role.model.base_model.layers[0].self_attn.q_proj.forward = lambda rows: rows
    assert _seen(role, monkeypatch)


def test_what_is_more_than_a_projection_is_computed_by_its_own_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    role, _ = _both(FAMILIES["llama"], "all-linear")
    assert not _seen(role, monkeypatch)
    layer: Any = next(part for part in role.model.modules() if isinstance(part, LoraLinear))
    layer.lora_dropout[ADAPTER] = nn.Dropout(0.5)
    assert _seen(role, monkeypatch)
    layer.lora_dropout[ADAPTER] = nn.Identity()
    layer.merge()
    assert _seen(role, monkeypatch)


def test_cast_weights_are_computed_with_by_its_own_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    role, _ = _both(FAMILIES["llama"])
    with torch.autocast("cpu", torch.bfloat16):
        assert _seen(role, monkeypatch)
    assert not _seen(role, monkeypatch)


def test_other_attention_is_computed_by_its_own_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    role, _ = _both(FAMILIES["llama"])
    role.model.config._attn_implementation = "eager"
    assert _seen(role, monkeypatch)


@pytest.mark.parametrize(
    "model",
    [
        tiny.model("gpt2"),
        tiny.model("gemma"),
        AutoModelForCausalLM.from_config(MistralConfig(**NARROW, sliding_window=4)),
        AutoModelForCausalLM.from_config(LlamaConfig(**NARROW, hidden_act="gelu")),
    ],
    ids=["another family", "other norms", "sliding window", "another activation"],
)
def test_other_models_keep_their_layers(model: PreTrainedModel) -> None:
    kinds = [type(part) for part in model.modules() if "Layer" in type(part).__name__]
    _fuse(model)
    assert [type(part) for part in model.modules() if "Layer" in type(part).__name__] == kinds


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_weights_that_are_cast_to_be_computed_with_keep_their_layers(device: str) -> None:
    model, mixed = tiny.model(), Precision.of("bfloat16", trains=True)
    assert not fused_layer.fuses_layers(model, torch.device(device), mixed)
    assert not fused_layer.fuses_layers(model.to(torch.bfloat16), torch.device(device), WIDE)


def test_small_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    weights = sum(weight.numel() for weight in model.base_model.layers[0].parameters())
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", weights + 1)
    _fuse(model)
    assert type(model.base_model.layers[0]) is LlamaDecoderLayer
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", weights)
    _fuse(model)
    assert type(model.base_model.layers[0]) is not LlamaDecoderLayer


def _random(*shape: int) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)
    return made.requires_grad_()


def _adapted(width: int, out: int) -> Projection:
    return Projection(_random(out, width), _random(out), _random(2, width), _random(out, 2), 0.7)


@pytest.mark.parametrize("tall", [0, 1000], ids=["merged", "beside"])
def test_gradients_are_the_slopes(tall: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "TALL", tall)
    group, scales = [_adapted(4, 5), _adapted(4, 6)], [0.7, 0.7]
    states, rows, gate = _random(3, 4), _random(3, 5), _random(3, 5) + 0.5
    one = flat([_adapted(5, 4)])
    assert gradcheck(
        lambda states, norm, *given: _Normed.apply(states, norm, 1e-3, scales, None, *given),
        [states, _random(4), *flat(group)],
    )
    assert gradcheck(lambda states, rows, *given: _Added.apply(states, rows, 0.7, None, *given), [states, rows, *one])
    assert gradcheck(
        lambda states, gate, rows, *given: _Gated.apply(states, gate, rows, 0.7, None, *given),
        [states, gate, rows, *one],
    )
    cos, sin = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    assert gradcheck(lambda heads: _Rotated.apply(heads, cos, sin), [_random(2, 3, 2, 4)])


def test_without_one_dnn_no_layer_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    model = tiny.model("llama")
    assert fused_layer.fuses_layers(model, CPU, WIDE)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not fused_layer.fuses_layers(model, CPU, WIDE)


class _Half(LlamaDecoderLayer):
    """As code that a base brings along may have it: it adds half of what it finds."""

    def forward(self, hidden_states: torch.Tensor, *given: Any, **named: Any) -> Any:
        return hidden_states + 0.5 * (super().forward(hidden_states, *given, **named) - hidden_states)


class _OwnNorm(LlamaRMSNorm):
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden_states)


def test_layers_and_parts_of_anothers_making_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither fused, nor packed, nor decoded as those of the family whose backbone they stand in."""
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    whole, in_parts = tiny.model("llama"), tiny.model("llama")
    assert is_known(whole)
    _fuse(whole)
    assert is_known(whole)
    in_parts.model.layers[1].input_layernorm.__class__ = _OwnNorm
    assert not is_known(in_parts)
    own = tiny.model("llama")
    for layer in own.model.layers:
        layer.__class__ = _Half
    tokens = torch.tensor([[1, 5, 6, 7]])
    before = own(input_ids=tokens).logits
    _fuse(own)
    assert not is_known(own)
    assert torch.equal(own(input_ids=tokens).logits, before)
