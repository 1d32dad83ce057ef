"""How often processes wait for each other, against counts made by hand for a toy decoder of two layers."""

from dataclasses import replace

import pytest
import torch
from toy_decoder import FOUR, SHARED, TOY

from truing.estimate.messages import messages
from truing.estimate.work import Case, Update
from truing.preflight.layouts import Layout, Numbers

NUMBERS = Numbers(
    rank=3, compute_bytes=2, quantised=False, learn_tokens=16, checkpointing=False, adapted=1.0, rows=8, row_tokens=8
)
UPDATE = Update(episodes=8, prompt_tokens=3, response_tokens=5, epochs=2)
"""64 tokens, in four micro-batches of 16; three roles score, and two learn in two epochs of a step each"""
STEPS = 2 * 4
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def _found(layout: Layout, update: Update = UPDATE) -> float:
    return messages(Case(TOY, FOUR, NUMBERS, update, layout), CPU)


def test_one_process_says_nothing_and_several_agree_on_each_step() -> None:
    assert _found(Layout()) == 0
    assert _found(Layout(data=4)) == STEPS
    assert _found(Layout(data=4), replace(UPDATE, minibatches=3)) == 3 * STEPS


def test_layers_that_are_cut_wait_in_each_of_them_and_for_each_token_that_is_drawn() -> None:
    forward, backward = 2 * 2 + 1, 2 * 2  # two sums a layer, and the embeddings
    micro_batches, vocabulary, blocks = 4, 3, 4  # each of up to 64 positions, but none beyond a micro-batch
    drawn, scored, asked = 5 * (forward + vocabulary), 3 * micro_batches * forward, blocks * vocabulary
    learnt = 2 * 2 * micro_batches * (forward + backward) + 2 * asked  # in two epochs
    assert _found(Layout(tensor=2)) == STEPS + drawn + scored + 2 * asked + learnt
    given = replace(UPDATE, samples=False, prompt_tokens=8, response_tokens=0, scored=0, learning=1)
    learnt = 2 * micro_batches * (forward + backward) + 2 * asked
    assert _found(Layout(tensor=2), given) == STEPS + learnt
    adapters = 2 * 2  # the second factors of what is cut by its inputs, a layer
    by_adapter = messages(Case(TOY, SHARED, NUMBERS, given, Layout(tensor=2)), CPU)
    assert by_adapter == STEPS + learnt + 2 * micro_batches * adapters
    of_rewards = replace(given, has_logits=False)
    assert _found(Layout(tensor=2), of_rewards) == STEPS + learnt - 2 * asked


def test_eight_rows_that_go_side_by_side_wait_as_often_as_one() -> None:
    more = replace(UPDATE, episodes=16, prompt_tokens=0, response_tokens=4)  # as many tokens, in two rounds of eight
    fewer = replace(more, episodes=8, prompt_tokens=4, response_tokens=4)
    assert _found(Layout(tensor=2), more) - _found(Layout(tensor=2), fewer) == 4 * (2 * 2 + 1 + 3)


@pytest.mark.parametrize(
    ("device", "tokens_of_slice", "blocks"),
    [
        (CPU, 3, 5),  # 64 positions at once, of 272
        (CPU, 24_576, 13),  # 524,288 logits at once: 21 positions
        (CUDA, 24_576, 1),  # 2^26 logits: 2,730 positions
    ],
)
def test_the_vocabulary_is_gone_over_for_each_block_of_positions(
    device: torch.device, tokens_of_slice: int, blocks: int
) -> None:
    shape = replace(TOY, projection=2 * tokens_of_slice * TOY.width)
    update = replace(UPDATE, prompt_tokens=0, response_tokens=8, episodes=17 * 8, samples=False)
    numbers = replace(NUMBERS, learn_tokens=17 * 16)  # four micro-batches of 272 tokens, all of them responses
    counts = [
        messages(Case(shape, FOUR, numbers, replace(update, has_logits=asked), Layout(tensor=2)), device)
        for asked in (True, False)
    ]
    assert counts[0] - counts[1] == 2 * 4 * blocks * 3  # in two epochs


def test_shards_are_gathered_layer_by_layer() -> None:
    two_of_four = 2  # micro-batches of each of two processes
    gathers = 1 + 3 * two_of_four + 3 * (2 * 2 * two_of_four)
    assert _found(Layout(data=2, shard=True)) == STEPS + 8 * gathers * (2 + 1)


def test_stages_take_and_hand_on_each_micro_batch_and_gather_each_weight() -> None:
    each = 4 * 2  # micro-batches of a batch
    passes = 3 * each + 2 * (2 * 2 * each)
    assert _found(Layout(pipeline=2)) == STEPS + 8 * (2 * passes + 9 * 2)
    given = replace(UPDATE, samples=False, scored=0, learning=1, minibatches=2)
    assert _found(Layout(pipeline=2), given) == 2 * STEPS + 8 * 2 * 2 * (2 * 2 * each)


@pytest.mark.parametrize("layout", [Layout(data=2), Layout(data=2, shard=True)])
def test_a_process_says_no_more_where_there_are_more_of_them(layout: Layout) -> None:
    assert _found(replace(layout, data=8)) <= _found(layout)
