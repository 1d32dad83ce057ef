"""Decoding held to whole rows: every family, prompts, and three tokens behind them while rows leave."""

from dataclasses import dataclass
from typing import Any

import tiny
import torch
from kernels.random_model import families
from torch import Tensor
from transformers import LlamaConfig, PreTrainedModel, Qwen2Config

from truing.config.sections import Lora
from truing.kernels.backend import Backend, DecodeStep
from truing.models.adapters import Adapters
from truing.models.decoding import Decoder
from truing.models.prefix import frozen_prefix_of
from truing.models.roles import Role

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
FAMILIES = {
    **families(head_dim=8, **NARROW),
    "llama, one head for all keys": LlamaConfig(**NARROW | {"num_key_value_heads": 1}),
    "llama, a key for each head": LlamaConfig(**NARROW | {"num_key_value_heads": 4}),
    "llama, stretched positions": LlamaConfig(**NARROW, rope_parameters=STRETCHED),
    "llama, another activation": LlamaConfig(**NARROW, hidden_act="gelu"),
    "qwen2, tied": Qwen2Config(**NARROW, tie_word_embeddings=True),
}


def adapted(model: PreTrainedModel, backend: Backend) -> Role:
    """A role whose adapter changes something in the upper two layers, above a frozen one."""
    adapters = Adapters(model, Lora(rank=2), 0, backend)
    adapters.add("policy", above=1)
    with torch.no_grad():
        for weight in adapters.parameters("policy"):
            weight.add_(0.2)
    return Role(model, adapters, "policy", prefix=frozen_prefix_of(model, 1), backend=backend)


@dataclass(frozen=True)
class Read:
    """Of rows that were read so far."""

    rows: list[list[int]]
    states: list[Tensor]
    """(D,) the last state of each"""
    prefix_states: list[Tensor]
    """(n, D) what left its prefix for as many tokens as were just read"""


@torch.no_grad()
def decoded(role: Role, step: DecodeStep, prompts: list[list[int]]) -> list[Read]:
    """Prompts, and after each of three tokens behind them; the second row ends after one of these, then the first."""
    decoder = Decoder(role, prompts, PAD, new_tokens=3, step=step)
    rows, alive, ended = [list(prompt) for prompt in prompts], torch.arange(4), set[int]()
    found = [_read(decoder, rows)]
    for position, ends in enumerate(([], [1], [0])):
        ended |= {*ends}
        alive = alive[decoder.keep([row not in ended for row in alive.tolist()])]
        decoder.read(torch.tensor([SAID[row][position] for row in alive.tolist()]))
        for row in alive.tolist():
            rows[row].append(SAID[row][position])
        found.append(_read(decoder, [rows[row] for row in alive.tolist()]))
    return found


def _read(decoder: Decoder, rows: list[list[int]]) -> Read:
    assert decoder.prefix_states is not None
    prefix = [states[-len(row) :].clone() for states, row in zip(decoder.prefix_states, rows, strict=True)]
    return Read([list(row) for row in rows], [*decoder.state.clone()], prefix)


@torch.no_grad()
def whole(role: Role, read: Read) -> Read:
    """The same of each row alone, read whole."""
    assert role.prefix is not None
    states, prefix_states = [], []
    for row, part in zip(read.rows, read.prefix_states, strict=True):
        with role.prefix.capture() as captured:
            states.append(role.hidden(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))[0, -1])
        prefix_states.append(captured[0][0, -len(part) :])
    return Read(read.rows, states, prefix_states)


def decodes_like_whole_rows(role: Role, step: DecodeStep, prompts: list[list[int]]) -> None:
    """In float32."""
    for read in decoded(role, step, prompts):
        alone = whole(role, read)
        for ours, theirs in ((read.states, alone.states), (read.prefix_states, alone.prefix_states)):
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)
