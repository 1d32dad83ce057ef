"""Operations, bytes and seconds of an update, against arithmetic by hand for a toy decoder."""

from dataclasses import replace

import pytest
from toy_decoder import FOUR, SHARED, TOY

from truing.estimate.work import Case, Device, Phase, Update, phases
from truing.preflight.layouts import Layout, Models, Numbers

NUMBERS = Numbers(
    rank=3, compute_bytes=2, quantised=False, learn_tokens=16, checkpointing=False, adapted=1.0, rows=8, row_tokens=8
)
UPDATE = Update(episodes=8, prompt_tokens=3, response_tokens=5, epochs=2)
"""64 tokens in rows of 8"""
ATTENTION = 4 * 2 * 6 * 8 * (8 * 9 / 2)
FORWARD = 64 * 2 * 2 * 100 + ATTENTION
LOGITS = 8 * 5 * 2 * 40
ADAPTERS = 64 * 2 * 2 * 30 * 3
DEVICE = Device(
    link=4.0,
    link_between=2.0,
    on_machine=2,
    message=0.0,
    memory=1e9,
    operations=10.0,
    bandwidth=5.0,
    source="made up",
)


def _found(models: Models, layout: Layout) -> dict[str, Phase]:
    return phases(Case(TOY, models, NUMBERS, UPDATE, layout))


def test_one_process_computes_and_moves_nothing() -> None:
    found = _found(FOUR, Layout())
    # The policy's logits are had for its responses; three roles score, and the policy is compared with the reference.
    # Two roles learn in two epochs, each forward and backward like three forwards, the policy with its logits.
    operations = [found[name].operations for name in ("rollout", "score", "learn")]
    assert operations == [FORWARD + LOGITS, 3 * FORWARD + 2 * LOGITS, 2 * (2 * 3 * FORWARD + 3 * LOGITS)]
    through = 2 * (FORWARD - ATTENTION) + 3 * (ATTENTION + ADAPTERS)
    assert _found(SHARED, Layout())["learn"].operations == 2 * (2 * through + 2 * LOGITS)
    assert found["rollout"].read == 5 * (2 * 280 + 2 * 2 * 2 * 2 * 8 / 2 * 8)
    assert {phase.moved + phase.moved_in_layers for phase in found.values()} == {0}


def test_rows_that_are_given_are_not_sampled() -> None:
    update = replace(UPDATE, samples=False, scored=1, learning=1)
    found = phases(Case(TOY, FOUR, NUMBERS, update, Layout(tensor=2)))
    assert (found["rollout"].operations, found["rollout"].moved_in_layers) == (0, 0)
    assert found["score"].operations == FORWARD + LOGITS
    assert found["learn"].operations == 2 * (3 * FORWARD + 3 * LOGITS)


def test_shared_rows_sum_the_gradients_of_both_models_once_a_step() -> None:
    found = _found(FOUR, Layout(data=4))
    assert found["learn"].moved == 2 * (2 * 3 / 4) * 4 * 2 * 280
    assert found["rollout"].moved == found["score"].moved == 0
    # Adapters of two roles, of 2 layers of 30 ends at rank 3.
    assert _found(SHARED, Layout(data=4))["learn"].moved == 2 * (2 * 3 / 4) * 4 * 2 * (2 * 30 * 3)


def test_shards_are_gathered_in_every_micro_batch() -> None:
    found = _found(FOUR, Layout(data=2, shard=True))
    micro_batches = 64 / 2 / 16
    assert found["rollout"].moved == pytest.approx(4 * 280 / 2)
    assert found["score"].moved == pytest.approx(3 * micro_batches * 2 * 280 / 2)
    # 220 in layers twice, 60 outside of them once, all gradients once; two roles, two epochs.
    assert found["learn"].moved == pytest.approx(2 * 2 * micro_batches * 4 * (2 * 220 + 60 + 280) / 2)


def test_layers_that_are_cut_sum_hidden_states_twice_each_way() -> None:
    found = _found(FOUR, Layout(tensor=2))
    forward = 2 * (1 / 2) * 64 * 4 * 2 * (2 * 2 + 1)
    sums = [found[name].moved_in_layers for name in ("rollout", "score", "learn")]
    assert sums == [forward, 3 * forward, 2 * 2 * 2 * forward]
    assert found["learn"].moved == 0


def test_stages_hand_hidden_states_on_and_wait_for_each_other() -> None:
    found = _found(FOUR, Layout(pipeline=2))
    hidden = 64 * 4 * 2  # each of two stages gives or takes them
    assert [found[name].moved for name in ("rollout", "score", "learn")] == [
        4 * 280 / 2,
        3 * hidden,
        2 * 2 * 2 * hidden,
    ]
    assert found["learn"].waiting == 1 / (8 + 1)  # eight micro-batches of 64 tokens, where 16 may go together
    assert found["rollout"].read == 5 * (2 * 280 + 2 * 2 * 2 * 2 * 8 / 2 * 8 / 2)
    assert Phase(80.0, 0.0, 0.0, waiting=1 / 9).seconds(DEVICE, Layout(pipeline=2)) == pytest.approx(
        80 / 2 / 10 * 9 / 8
    )


def test_seconds_are_those_of_the_slower_of_two_ceilings_and_of_the_link_in_use() -> None:
    phase = Phase(operations=80.0, read=10.0, moved=8.0, moved_in_layers=4.0)
    assert phase.seconds(DEVICE, Layout(tensor=2)) == 80 / 2 / 10 + 8 / 4 + 4 / 4
    assert phase.seconds(DEVICE, Layout(data=4, tensor=2)) == 10 / 5 + 8 / 2 + 4 / 4
