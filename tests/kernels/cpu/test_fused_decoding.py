"""The fused step gives what the model's own layers give: every family, adapters, padding, rows that leave."""

import gc
import weakref
from typing import Any

import one_dnn
import pytest
import tiny
import torch
from kernels.random_model import random_model
from kernels.whole_rows import EOS, FAMILIES, NARROW, OF_ONE_LENGTH, PAD, PROMPTS, adapted, decodes_like_whole_rows
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    PreTrainedModel,
)

from truing.kernels import backend as backends
from truing.kernels import fused_layer
from truing.kernels.backend import choose_backend
from truing.kernels.cpu.fused_decoding import FusedStep
from truing.kernels.precision import Precision
from truing.models.decoding import Decoder
from truing.models.load import prepare
from truing.models.roles import Role
from truing.rollout.engine import Sampling


def _adapted(model: PreTrainedModel) -> Role:
    return adapted(model, prepare(model, Precision()))


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


def _decodes_like_whole_rows(role: Role, prompts: list[list[int]]) -> None:
    with role.decoding() as step:
        assert isinstance(step, FusedStep)
    decodes_like_whole_rows(role, step, prompts)


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
