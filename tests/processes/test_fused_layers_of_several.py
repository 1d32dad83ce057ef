"""Layers wide enough to be fused, in processes that each keep a part of them, learn what the library's own learn."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
import torch
from kernels import whole_rows
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from processes.several import in_ranks
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from truing.config.sections import Base, Compute, Lora, Optimiser
from truing.core.rows import TokenRows
from truing.kernels import fused_layer, packed_rows
from truing.kernels.backend import DecodeStep
from truing.kernels.cpu.fused_decoding import FusedStep
from truing.kernels.gpu.static_step import StaticDecoding
from truing.kernels.precision import rounding
from truing.models.decoding import Decoder
from truing.models.layout import base_to_train, trained_role
from truing.models.prefix import frozen_prefix_of
from truing.models.roles import Role
from truing.processes import group
from truing.stages.sft import completion_loss
from truing.training.learner import Learner, Trained

pytestmark = pytest.mark.long

WIDTH = 128
RATE, EPS = 0.5, 1.0
"""With so large an epsilon a step of AdamW is nearly the gradient, and no sign of nothing decides it"""
ALIKE = 1e-4
RANK, ALPHA = 2, 6.0
PROMPTS, RESPONSES = [(1, 2), (3,), (4, 5, 6, 7), (8, 9)], [(10, 11, 12), (13, 14, 15, 16, 17), (18,), (19, 20, 21)]
LAYERS = 2


class Layout(NamedTuple):
    """How two processes share a model."""

    group: dict[str, int]
    shard: bool
    fused: int
    """Layers that a process computes so"""


LAYOUTS = {
    "rows of weights": Layout({}, shard=True, fused=LAYERS),
    "stages": Layout({"pipeline": 2}, shard=False, fused=LAYERS // 2),
    "slices": Layout({"tensor": 2}, shard=False, fused=LAYERS),
}


def check(layout: str, base: str) -> None:
    """In each process: a step in which all weights learn, and one in which an adapter does."""
    spread = LAYOUTS[layout]
    with group.joined(**spread.group), pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_rows, "MIN_LAYER_WEIGHTS", 1)  # rows are laid end to end
        for lora in (None, Lora(rank=RANK, alpha=ALPHA)):
            loaded = base_to_train(Base(path=base), Compute(shard=spread.shard), by_adapter=lora is not None)
            role = trained_role(loaded, "policy", lora, seed=0)
            draws = torch.Generator().manual_seed(0)
            begun = {path: weight + 0.1 * _normal(weight, draws) for path, weight in role.weights().items()}
            role.put(begun)
            found, fused = _step(role)
            assert fused == spread.fused
            loss, stepped = _step_of_library(base, lora is not None, begun)
            assert found["loss"] == pytest.approx(loss, rel=1e-6)
            for path, weight in role.weights().items():
                of_step = stepped[path] - begun[path]
                assert torch.dist(weight - begun[path], of_step) <= ALIKE * of_step.norm(), (path, lora)


def check_decoding(base: str) -> None:
    """In each process: tokens one by one, with an adapter above a frozen layer, and the same rows read whole."""
    with group.joined(tensor=2):
        in_float32 = _adapted(base, Compute())
        with in_float32.decoding() as step:
            assert isinstance(step, FusedStep)
            assert step.begin is not None
            _decodes_like_whole_rows(in_float32, step)
        for role in (in_float32, _adapted(base, Compute(dtype="bfloat16"))):
            with StaticDecoding(role.backend.precision.compute)(role.model, "policy", 1) as static:  # as a GPU does
                _decodes_like_whole_rows(role, static)


def check_logits(base: str) -> None:
    """In each process: rows of weights are gathered, and nothing but a step of ours has read anything before."""
    with group.joined():
        role = base_to_train(Base(path=base), Compute(shard=True), by_adapter=True).role()
        with torch.no_grad(), role.gathered(), role.decoding() as step:
            assert isinstance(step, FusedStep)
            assert step.begin is not None
            decoder = Decoder(role, whole_rows.PROMPTS, whole_rows.PAD, new_tokens=3, step=step)
            logits = role.logits(decoder.state)
            expected = decoder.state @ role.projection.get_parameter("weight").T
            torch.testing.assert_close(logits, expected)


def _adapted(base: str, compute: Compute) -> Role:
    loaded = base_to_train(Base(path=base), compute, by_adapter=True)
    adapters = loaded.adapters(Lora(rank=RANK), seed=0)
    adapters.add("policy", above=1)
    with torch.no_grad():
        for weight in adapters.parameters("policy"):
            weight.add_(0.2)
    return loaded.role(adapters=adapters, adapter="policy", prefix=frozen_prefix_of(loaded.model, 1))


def _decodes_like_whole_rows(role: Role, step: DecodeStep) -> None:
    for read in whole_rows.decoded(role, step, whole_rows.PROMPTS):
        alone = whole_rows.whole(role, read)
        ours, theirs = [*read.states, *read.prefix_states], [*alone.states, *alone.prefix_states]
        for one, other in zip(ours, theirs, strict=True):
            assert (one - other).abs().max() <= rounding(role.model.dtype) * other.abs().max()


def _normal(weight: Tensor, draws: torch.Generator) -> Tensor:
    return torch.randn(weight.shape, generator=draws)


def _step(role: Role) -> tuple[dict[str, float], int]:
    """What a step measures, on parts of a row or two, and how many layers were computed as fused ones."""
    settings = Optimiser(learning_rate=RATE, warmup=0.0, schedule="constant", adam_eps=EPS, max_grad_norm=1e9)
    learner, fused = Learner([Trained("policy", role, RATE)], settings, steps=1, token_budget=12), set[object]()
    with pytest.MonkeyPatch.context() as patched:
        own = fused_layer._computed
        patched.setattr(fused_layer, "_computed", lambda layer, *a, **k: fused.add(layer) or own(layer, *a, **k))
        rows = TokenRows(PROMPTS, RESPONSES, pad=tiny.VOCABULARY - 1)
        return learner.train_step(rows, lambda batch: completion_loss(role, batch)), len(fused)


def _step_of_library(base: str, by_adapter: bool, begun: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """The loss, and each weight after the step, in float64 by transformers and PEFT, a row at a time."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if by_adapter:
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
        set_peft_model_state_dict(model, begun)
    else:
        unnamed = model.load_state_dict(begun, strict=False)
        assert {*unnamed.missing_keys} <= {"lm_head.weight"}  # which is that of the embeddings
    model.double()
    loss = torch.zeros(())
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        loss = loss + F.cross_entropy(logits, torch.tensor(response), reduction="sum") / sum(map(len, RESPONSES))
    loss.backward()
    weights = {path.replace(".default", ""): one for path, one in model.named_parameters() if one.requires_grad}
    torch.optim.AdamW(weights.values(), lr=RATE, eps=EPS, weight_decay=0.0).step()
    return loss.item(), {path: weight.detach() for path, weight in weights.items()}


RANKS = """
import sys
sys.path.insert(0, sys.argv[1])
from processes import test_fused_layers_of_several
getattr(test_fused_layers_of_several, sys.argv[2])(*sys.argv[3:])
"""
LLAMA, QWEN3 = (f"{family}{tiny.IN_GROUPS}" for family in ("llama", "qwen3"))
"""The second has biases, norms of its heads, and one weight for embeddings and projection"""


@pytest.mark.parametrize(("layout", "shape"), [*((layout, LLAMA) for layout in LAYOUTS), ("slices", QWEN3)])
def test_a_step_is_that_of_the_librarys_layers(layout: str, shape: str, tmp_path: Path) -> None:
    """By fused layers, of rows, stages or slices."""
    base = tiny.directory(tmp_path / "base", shape, width=WIDTH)
    model = tiny.model(shape, width=WIDTH)
    assert sum(weight.numel() for weight in model.base_model.layers[0].parameters()) > fused_layer.MIN_FUSED_WEIGHTS
    in_ranks(RANKS, tmp_path, 2, str(Path(__file__).parents[1]), check.__name__, layout, str(base))


@pytest.mark.parametrize("shape", [LLAMA, QWEN3])
def test_slices_decode_what_they_read_whole(shape: str, tmp_path: Path) -> None:
    base = tiny.directory(tmp_path / "base", shape, width=WIDTH)
    in_ranks(RANKS, tmp_path, 2, str(Path(__file__).parents[1]), check_decoding.__name__, str(base))


def test_a_sharded_model_may_sample_before_it_was_gone_through(tmp_path: Path) -> None:
    base = tiny.directory(tmp_path / "base", LLAMA, width=WIDTH)
    in_ranks(RANKS, tmp_path, 2, str(Path(__file__).parents[1]), check_logits.__name__, str(base))
