"""A run of every kind of stage that is asked to end in each, and goes on in another layout each time."""

import signal
from pathlib import Path

import pytest
import tiny
from faults.killed import SHORT, STAGES, running_stage
from processes.several import SOON, assert_same_responses, assert_same_steps, said, start, wait_for_lines

pytestmark = [pytest.mark.long, pytest.mark.slow]

LAYOUTS: list[tuple[int, tuple[str, ...]]] = [
    (2, ()),
    (2, ("--set", "compute.shard=true")),
    (2, ("--tp", "2")),
    (3, ()),
    (2, ("--pp", "2")),
]
"""Processes, and options of the command that starts them"""
EVERY_STEP = {"checkpoints.every_steps": 1, "ppo.updates": 8}
SEVERAL_EPOCHS = {f"{stage}.epochs": 6 for stage in STAGES if stage != "ppo"}
"""So that a stage is still going on when it is asked to end"""
ROUNDING = 1e-4
"""Of what these many steps make of the 1e-7 by which layouts differ in one"""
ROLES = {"shared": {"roles": "shared"}, "separate": {"roles": "separate", "sft.method": "full"}}


@pytest.fixture(scope="module", params=ROLES)
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = SHORT | EVERY_STEP | SEVERAL_EPOCHS | ROLES[request.param]
    return tiny.recipe_file(tmp_path_factory.mktemp(request.param), shape=f"llama{tiny.IN_GROUPS}", **changes)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    """Of one process."""
    out = recipe.parent / "undisturbed"
    assert start(recipe, out, 1).wait(300) == 0, said(out)
    return out


@pytest.mark.parametrize("first", range(len(LAYOUTS)))
def test_each_stage_is_begun_in_one_layout_and_ended_in_the_next(recipe: Path, undisturbed: Path, first: int) -> None:
    """Over all of `first`, each layout leaves off in each stage; the last is ended in one process."""
    out = recipe.parent / f"first-{first}"
    for stage, (processes, options) in zip(STAGES, LAYOUTS[first:] + LAYOUTS[:first], strict=True):
        going = start(recipe, out, processes, *options)
        wait_for_lines(out / stage / "metrics.jsonl", 3, going)
        going.send_signal(signal.SIGTERM)
        assert going.wait(SOON) == 128 + signal.SIGTERM, said(out)
        assert running_stage(out) == stage
    assert start(recipe, out, 1).wait(300) == 0, said(out)
    for stage in STAGES:
        assert_same_steps(out / stage, undisturbed / stage, ROUNDING)
    for stage in ("ppo", "dpo", "kto"):
        assert_same_responses(out / stage, undisturbed / stage)
