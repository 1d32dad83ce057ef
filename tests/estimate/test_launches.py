"""What is predicted of several processes from what one was measured to take."""

import pytest
import tiny

from truing.config.recipe import Recipe
from truing.estimate.dry_run import Usage
from truing.estimate.launches import Measured, Share, launch_of
from truing.estimate.work import Links, update_of
from truing.preflight.layouts import Layout


def test_seconds_are_those_of_one_on_as_many_threads_shared_out_and_what_goes_over_the_link() -> None:
    recipe = Recipe.model_validate({"stages": ["sft"], "sft": {"method": "full", "batch_size": 8}, "roles": "separate"})
    model = tiny.model()
    usage, on_one_thread = ({"sft": Usage(peak=1e9, held=1e9, seconds=seconds, steps=3)} for seconds in (2.0, 3.2))
    beside = Share(on_one_thread, slowdown=1.25, links=Links(1e3, 1, 2, 0.0))
    measured = Measured(recipe, model, usage, {"sft": 10}, {2: beside})
    # Two halves of a sum of gradients, of 4 bytes each, go through each process; the second half back.
    exchange = 2 * (4 * model.num_parameters() / 2) / 1e3
    assert launch_of(measured, Layout(data=2)).seconds == pytest.approx(3 * (1.25 * 3.2 / 2 + exchange))
    assert launch_of(measured, Layout()).seconds == 3 * 2.0


def test_a_step_is_an_update_where_a_policy_answers_and_a_batch_of_rows_elsewhere() -> None:
    recipe = Recipe.model_validate(
        {
            "stages": ["sft", "reward", "ppo", "dpo", "kto", "simpo"],
            "kto": {"batch_size": 9},
            "simpo": {"batch_size": 4},
            "reward": {"batch_size": 6},
            "ppo": {"episodes": 12, "epochs": 3, "minibatches": 2},
            "dpo": {"batch_size": 5},
            "rollout": {"max_new_tokens": 7},
        }
    )
    found = {stage: update_of(recipe, stage, 10) for stage in ("reward", "ppo", "dpo", "kto", "simpo")}
    assert [found[stage].episodes for stage in found] == [2 * 6, 12, 2 * 5, 9, 2 * 4]
    assert [(one.scored, one.learning, one.samples) for one in found.values()] == [
        (0, 1, False),
        (3, 2, True),
        (1, 1, False),
        (3, 1, False),  # the reference on a rating and on its mismatched response, and the policy on the latter
        (0, 1, False),  # no reference
    ]
    assert (found["ppo"].prompt_tokens, found["ppo"].response_tokens) == (3, 7)
    assert (found["ppo"].epochs, found["ppo"].minibatches) == (3, 2)


def _peak(usage: float, layout: Layout, **others: bool) -> float:
    slight = {"stages": ["ppo"], "ppo": {"episodes": 1, "minibatches": 1}, "lora": {"rank": 1}}
    usages = {"ppo": Usage(usage, 0.0, 0.0)}
    measured = Measured(Recipe.model_validate(slight), tiny.model(), usages, {"ppo": 2}, **others)
    return launch_of(measured, layout).peaks["ppo"]


LIBRARIES, OF_SEVERAL = 0.57e9, 0.13e9
"""Bytes of one process and what several take more, as they were measured: docs/doctor.md and docs/memory.md"""


def test_a_peak_is_that_of_one_process_with_what_a_launch_changes() -> None:
    """Several with other rows have more libraries. Those with parts of weights lack gaps of the heap, of that size."""
    shared, of_model = Layout(data=2, shard=True), 1e6
    assert _peak(1e9, Layout()) == 1e9
    assert _peak(1e9, Layout(data=2)) == pytest.approx(1e9 + OF_SEVERAL, abs=of_model)
    for without in (shared, Layout(pipeline=2), Layout(tensor=2)):
        assert _peak(1e9, without) == pytest.approx(1e9, abs=of_model)
    assert _peak(float("inf"), Layout()) == pytest.approx(LIBRARIES, abs=of_model)
    assert _peak(float("inf"), shared) == pytest.approx(LIBRARIES + OF_SEVERAL, abs=of_model)


def test_on_a_gpu_what_the_owner_merges_in_is_elsewhere() -> None:
    """By count alone: from what was measured, the checkpoint of one process, which is elsewhere too, is taken off."""
    pipeline = Layout(pipeline=2)
    on_cpu, on_gpu = (_peak(float("inf"), pipeline, on_cpu=on_cpu) for on_cpu in (True, False))
    assert on_cpu - on_gpu > 1e4
