"""The fused step gives what the model's own layers give: every family, adapters, padding, rows that leave."""

import gc
import weakref
from typing import Any

import one_dnn
import pytest
import tiny
import torch
from kernels.cpu.random_model import random_model
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from truing.config.sections import Lora
from truing.kernels import backend as backends
from truing.kernels.backend import choose_backend
from truing.kernels.cpu import fused_layer
from truing.kernels.cpu.fused_decoding import FusedStep
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.decoding import Decoder
from truing.models.load import prepare
from truing.models.prefix import frozen_prefix_of
from truing.models.roles import Role
from truing.rollout.engine import Sampling

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [[1, 2, 3, 4, 5], [4], [1, 2, 3, 4, 5], [7, 8]]
OF_ONE_LENGTH = {"three tokens": [[1, 2, 3], [4, 5, 6], [1, 2, 3], [7, 8, 9]], "one token": [[1], [4], [1], [7]]}
SAID = [[7, 8, 9], [9, 10, 11], [11, 12, 13], [1, 2, 3]]
NARROW: dict[str, Any] = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 2.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
FAMILIES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**NARROW),
    "llama with biases": LlamaConfig(**NARROW, attention_bias=True, mlp_bias=True),
    "llama, one head for all keys": LlamaConfig(**NARROW | {"num_key_value_heads": 1}),
    "llama, a key for each head": LlamaConfig(**NARROW | {"num_key_value_heads": 4}),
    "llama, stretched positions": LlamaConfig(**NARROW, rope_parameters=STRETCHED),
    "llama, another activation": LlamaConfig(**NARROW, hidden_act="gelu"),
    "mistral": MistralConfig(**NARROW, sliding_window=None, head_dim=8),
    "qwen2": Qwen2Config(**NARROW, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**NARROW, head_dim=8),
}


def _adapted(model: PreTrainedModel) -> Role:
    """A role whose adapter changes something in the upper two layers, above a frozen one."""
    backend, prefix = prepare(model, Precision()), frozen_prefix_of(model, 1)
    adapters = Adapters(model, Lora(rank=2), 0, backend)
    adapters.add("policy", above=1)
    with torch.no_grad():
        for weight in adapters.parameters("policy"):
            weight.add_(0.2)
    return Role(model, adapters, "policy", prefix=prefix, backend=backend)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pack", [True, False], ids=["prepacked", "plain"])
def test_states_are_those_of_the_models_own_layers(family: str, pack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pack:
        one_dnn.computes_everything(monkeypatch)
    _decodes_like_whole_rows(_adapted(random_model(FAMILIES[family])), PROMPTS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prompts", [PROMPTS, *OF_ONE_LENGTH.values()], ids=["padded", *OF_ONE_LENGTH])
@pytest.mark.parametrize("pack", [True, False], ids=["prepacked", "plain"])
def test_prompts_of_large_layers_are_read_by_it_too(
    family: str, prompts: list[list[int]], pack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pack:
        one_dnn.computes_everything(monkeypatch)
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    monkeypatch.setattr(backends, "fuse_layers", lambda _: None)  # what it is held to stays the model's own
    role = _adapted(random_model(FAMILIES[family]))
    with role.decoding() as step:
        assert isinstance(step, FusedStep)
        assert (step.begin is None) == (FAMILIES[family].hidden_act != "silu")
    _decodes_like_whole_rows(role, prompts)


def test_copies_of_weights_are_gone_when_a_rollout_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_layer, "MIN_FUSED_WEIGHTS", 1)
    role = _adapted(random_model(FAMILIES["llama"]))
    gc.disable()
    try:
        with role.decoding() as step:
            assert isinstance(step, FusedStep)
            Decoder(role, PROMPTS, PAD, new_tokens=3, step=step)
        kept = weakref.ref(step)
        del step
        assert kept() is None
    finally:
        gc.enable()


@torch.no_grad()
def _decodes_like_whole_rows(role: Role, prompts: list[list[int]]) -> None:
    """Prompts, and three tokens behind them while rows leave, each beside its whole row alone."""
    assert role.prefix is not None
    with role.decoding() as step:
        assert isinstance(step, FusedStep)
    decoder = Decoder(role, prompts, PAD, new_tokens=3, step=step)
    rows, alive = [list(prompt) for prompt in prompts], torch.arange(4)
    _are_those_of_whole_rows(decoder, role, rows)
    for position, going in enumerate(([True] * 4, [True, False, True, True], [False, True, True])):
        alive = alive[decoder.keep(going)]
        decoder.read(torch.tensor([SAID[row][position] for row in alive.tolist()]))
        for row in alive.tolist():
            rows[row].append(SAID[row][position])
        _are_those_of_whole_rows(decoder, role, [rows[row] for row in alive.tolist()])


def _are_those_of_whole_rows(decoder: Decoder, role: Role, rows: list[list[int]]) -> None:
    """The last state of each row, and what left its prefix for as many tokens as were just read."""
    assert role.prefix is not None
    for place, row in enumerate(rows):
        whole = torch.tensor([row])
        with role.prefix.capture() as prefix_states:
            alone = role.hidden(whole, torch.ones_like(whole))
        torch.testing.assert_close(decoder.state[place], alone[0, -1], atol=2e-5, rtol=2e-5)
        assert decoder.prefix_states is not None
        read = decoder.prefix_states[place, -len(row) :]
        torch.testing.assert_close(read, prefix_states[0][0, -len(read) :], atol=2e-5, rtol=2e-5)


def test_sampling_goes_through_the_fused_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    plain = FusedStep.__call__

    def counted(step: FusedStep, tokens: torch.Tensor, *rest: Any) -> Any:
        rows.append(len(tokens))
        return plain(step, tokens, *rest)

    monkeypatch.setattr(FusedStep, "__call__", counted)
    model = tiny.model()
    tiny.sample(
        Role(model, backend=prepare(model, Precision())),
        PROMPTS,
        Sampling(4, 1.0, (EOS,), PAD, rows=4),
        0,
        "test",
        range(4),
    )
    assert rows[0] == 4
    assert len(rows) == 3


class _OwnBackbone(LlamaModel):
    """Of code that a model brings along: its config says llama, and its layers are what it likes."""


def _brought_along() -> PreTrainedModel:
    model = LlamaForCausalLM(LlamaConfig(**NARROW))
    model.model = _OwnBackbone(model.config)
    return model


@pytest.mark.parametrize(
    "model",
    [
        tiny.model("gpt2"),
        tiny.model("gemma"),
        tiny.model().to(torch.bfloat16),
        AutoModelForCausalLM.from_config(MistralConfig(**NARROW, sliding_window=4)),
        _brought_along(),
    ],
    ids=["another family", "other norms", "bfloat16", "sliding window", "code of its own"],
)
def test_other_models_decode_by_their_own_layers(model: PreTrainedModel) -> None:
    with Role(
        model, backend=choose_backend(model, model.device, Precision(model.dtype, model.dtype))
    ).decoding() as step:
        assert step is None


def test_the_plain_weights_are_as_they_were() -> None:
    role = _adapted(random_model(FAMILIES["llama"]))
    before = {name: weight.clone() for name, weight in role.model.state_dict().items()}
    with role.decoding() as step:
        assert step is not None
    assert all(torch.equal(weight, before[name]) for name, weight in role.model.state_dict().items())
