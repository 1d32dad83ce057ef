"""A model without weights has the sizes of the one with them, and a pass through it costs what formulas say."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from truing.config.sections import Base, Compute, Lora
from truing.doctor.passes import Shape
from truing.doctor.shadow import Shadow
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.load import load_base, outline_base, prepare
from truing.models.logprobs import logprobs_of
from truing.models.roles import Role

LORA = Lora(rank=4)
FLOAT = 4
WIDE: dict[str, Any] = {
    "vocab_size": 500,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
LAYER = 256 * 256 * 2 + 2 * 256 * 128 + 3 * 256 * 512
"""Weights of the linear layers of one layer"""


def _wide(layers: int) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**WIDE, num_hidden_layers=layers)).eval().requires_grad_(False)


def _shadow(layers: int = 6) -> Shadow:
    with torch.device("meta"):
        return Shadow(_wide(layers), LORA, cpu=True)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_sizes_are_those_of_the_loaded_model(shape: str, tmp_path: Path) -> None:
    base = Base(path=str(tiny.directory(tmp_path, shape)))
    shadow = Shadow(outline_base(base, Compute()).model, LORA, cpu=True)
    model = load_base(base, Compute()).model
    assert shadow.weights == sum(weight.nbytes for weight in model.parameters())
    cache = model(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
    assert shadow.kept_token() == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) / 3
    adapters = Adapters(model, LORA, seed=0)
    adapters.add("policy")
    assert shadow.adapter() == sum(weight.nbytes for weight in adapters.parameters("policy"))


def test_upper_layers_alone_are_adapted_above_a_trunk() -> None:
    assert _shadow().adapter(above=4) == pytest.approx(_shadow().adapter() / 3)


def test_packed_copies_are_of_layers_large_enough() -> None:
    linear = 6 * (LAYER - 2 * 256 * 128)  # keys and values are too small
    assert _shadow().packed == FLOAT * (linear + 500 * 256)
    with torch.device("meta"):
        assert Shadow(_wide(6), LORA, cpu=False).packed == 0


@pytest.mark.parametrize("trained", ["full", "adapter"])
def test_what_waits_for_the_backward_is_what_autograd_saves(trained: str) -> None:
    """Counted on a real model through autograd's own hooks."""
    model, shape = _wide(6), Shape(3, 40, 60)
    backend = prepare(model, Precision())
    role = Role(model.requires_grad_(True), backend=backend)
    if trained == "adapter":
        model.requires_grad_(False)
        adapters = Adapters(model, LORA, 0, backend)
        adapters.add("policy")
        role = Role(model, adapters, "policy", backend=backend)
    saved: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    mask = torch.ones_like(tokens)
    mask[0, -1] = 0  # as in a batch of several lengths
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = role.hidden(tokens, mask)
        loss = logprobs_of(role, hidden.flatten(0, 1)[: shape.counted], tokens.flatten()[: shape.counted]).sum()
    assert _shadow().learning([shape], trained, head=False).kept == pytest.approx(sum(saved.values()), rel=0.02)
    del loss


def test_a_pass_above_a_given_trunk_is_that_of_fewer_layers() -> None:
    shapes = [Shape(2, 30, 20)]
    whole, third = (_shadow().learning(shapes, "adapter", True, above, given=True) for above in (0, 4))
    assert third.kept < 0.4 * whole.kept
    below = _shadow().learning(shapes, "adapter", True, above=4)
    assert below.kept == third.kept


def test_an_adapted_layer_compiles_what_it_multiplies() -> None:
    """Of (out, in) 256x256, 512x256 and 256x512, each with an adapter: three products forward, and five backward.

    The narrow ones do not depend on the layer's other side, and the lowest adapter's input needs no gradient.
    """
    reading = _shadow().reading([Shape(2, 50, 0)])
    assert reading.compiled == 3
    learning = _shadow().learning([Shape(2, 50, 0)], "adapter", head=True)
    assert 3 * reading.compiled < learning.compiled <= 8 * reading.compiled


def test_drawing_holds_logits_and_their_weights() -> None:
    rows, vocabulary = 8, 500
    assert 2 * FLOAT * rows * vocabulary < _shadow().drawing(rows).burst < 5 * FLOAT * rows * vocabulary


def test_layers_that_run_again_keep_their_inputs_alone() -> None:
    shape = Shape(2, 50, 0)
    with torch.device("meta"):
        again = Shadow(_wide(6), LORA, cpu=True, checkpointing=True)
    kept = again.learning([shape], "adapter", head=True).kept
    assert kept == pytest.approx(FLOAT * 256 * shape.area * 7, rel=0.5)  # and what the last norm keeps
    assert kept < 0.1 * _shadow().learning([shape], "adapter", head=True).kept


def test_a_mixture_of_experts_can_be_counted() -> None:
    with torch.device("meta"):
        config = MixtralConfig(**WIDE, num_hidden_layers=4, num_local_experts=8, num_experts_per_tok=2)
        shadow = Shadow(MixtralForCausalLM(config).eval(), LORA, cpu=True)
    assert shadow.learning([Shape(2, 50, 20)], "full", head=False).kept > 0
