"""Operations counted against products that are carried out, and by hand."""

from pathlib import Path

import pytest
import torch
from harness.count_table import SMOLLM2_135M, count_table
from harness.counts import (
    ADAM,
    Layout,
    Unit,
    decode,
    layouts,
    learn,
    operations,
    rollout,
    shape_of_config,
    update,
)
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from truing.estimate.work import forward, learning
from truing.preflight.shapes import shape_of

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
CONFIG = LlamaConfig(
    hidden_size=16,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=50,
    tie_word_embeddings=True,
    attn_implementation="eager",
)
SHAPE = shape_of_config(CONFIG.to_dict())
ROWS, LENGTH = 2, 10
SQUARE = 4.0 * SHAPE.layers * SHAPE.query_width * ROWS * LENGTH**2
"""Attention over the whole square, as the plain implementation computes it"""
CAUSAL = 4.0 * SHAPE.layers * SHAPE.query_width * ROWS * LENGTH * (LENGTH + 1) / 2
PROJECTED = 2.0 * SHAPE.projection * ROWS * LENGTH


def test_the_shape_of_a_config_is_that_of_its_model():
    assert shape_of(LlamaForCausalLM(CONFIG)) == SHAPE


def carried_out(learns: bool, backward: bool) -> float:
    """Operations of a forward, and of the backward to the embedded tokens and, if it learns, to the weights."""
    model = LlamaForCausalLM(CONFIG).requires_grad_(learns)
    embedded = torch.randn(ROWS, LENGTH, CONFIG.hidden_size, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        logits = model(inputs_embeds=embedded).logits
        if backward:
            logits.sum().backward()
    return float(counter.get_total_flops())


def test_a_forward_is_what_torch_carries_out():
    counted = forward(SHAPE, [LENGTH] * ROWS, SHAPE.layers, None) + PROJECTED
    assert counted - CAUSAL + SQUARE == pytest.approx(carried_out(False, backward=False), rel=2e-3)


@pytest.mark.parametrize(("learns", "rank", "passes"), [(True, None, 3), (False, 0, 2)])
def test_learning_is_what_torch_carries_out(learns: bool, rank: int | None, passes: int):
    counted = learning(SHAPE, [LENGTH] * ROWS, SHAPE.layers, rank) + passes * PROJECTED
    assert counted - 3 * CAUSAL + 3 * SQUARE == pytest.approx(carried_out(learns, backward=True), rel=2e-3)


def test_decoding_adds_up_to_one_forward_of_all_tokens_but_the_last():
    unit, layout = Unit((5, 7), (4, 3), 1, 1), Layout(2, 3, 3)
    total = sum(cost.operations for cost in rollout(SHAPE, unit, layout))
    assert total == pytest.approx(forward(SHAPE, [5 + 3, 7 + 2], 3, 2) + 2 * SHAPE.projection * (4 + 3))


def test_a_decoding_step_reads_weights_once_and_what_each_row_has_kept():
    layout = Layout(None, 3, 3)
    one, two = decode(SHAPE, [10], layout), decode(SHAPE, [10, 10], layout)
    kept = 3 * 10 * 2 * 2 * 4 * 4  # layers, tokens, keys and values, heads of them, width of a head, bytes
    assert two.bytes - one.bytes == kept
    assert one.bytes - kept == 4 * (3 * SHAPE.products + SHAPE.projection)


def test_rows_that_are_finished_cost_nothing():
    long, ragged = (
        sum(c.operations for c in rollout(SHAPE, Unit((4, 4), lengths, 1, 1), Layout(None, 3, 3)))
        for lengths in ((6, 6), (6, 2))
    )
    alone = sum(c.operations for c in rollout(SHAPE, Unit((4,), (6,), 1, 1), Layout(None, 3, 3)))
    assert alone < ragged < long == 2 * alone


def test_the_optimiser_moves_what_learns():
    unit = Unit((4,), (4,), epochs=3, minibatches=2)
    weights = 3 * SHAPE.products + SHAPE.projection
    assert learn(SHAPE, unit, Layout(None, 3, 3))[1].bytes == 3 * 2 * ADAM * 2 * weights
    assert learn(SHAPE, unit, Layout(5, 2, 3))[1].bytes == 3 * 2 * ADAM * 2 * (2 * SHAPE.ends * 5)


def test_fewer_adapted_layers_cost_less_and_frozen_ones_less_than_learnt():
    unit = Unit((16,) * 4, (32,) * 4, 2, 2)
    found = {name: operations(update(SMOLLM2_135M, unit, layout)) for name, layout in layouts(30, 8).items()}
    assert found["shared-third"] < found["shared"] < found["trl-peft"] < found["separate"] < found["trl"]


def test_the_page_has_the_table():
    assert count_table() in PAGE.read_text(encoding="utf-8")
