"""Processes that share the rows of a run, its weights or its layers make the run that one makes, to rounding."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import letters
import pytest
import tiny
from faults.killed import SHORT
from faults.killed import STAGES as KILLED
from forked import BARE
from processes.several import assert_same_responses, assert_same_steps, said, start
from safetensors.torch import load_file

from truing.config import stages as registry

pytestmark = pytest.mark.long

TRIED = {*KILLED, *tiny.WITHOUT_CRITIC, "simpo", "orpo"}
STAGES = [name for name in registry.STAGES if name in TRIED]
KINDS = [name for name in STAGES if name in (*KILLED, "grpo")]
"""A stage of each kind: how a run is spread is nothing to a loss, whose own terms one layout has with all stages"""
OF_ALL_ROWS = ["sft", "reward", "ppo", "dpo"]
"""What is left of these where every process has all rows, whose groups and batches are then nobody's to put together"""
CHANGES = SHORT | {"checkpoints.every_steps": 1}
STAGE, CLASSIFIER = {"kind": "stage"}, {"kind": "model", "path": "PLACE/classifier"}
TALK = {"kind": "environment", "path": f"{letters.__file__}:Patient", "turns": 2, "observation_tokens": 4}
ADAPTERS: dict[str, Any] = {"roles": "shared"}
FULL: dict[str, Any] = {"roles": "separate", "sft.method": "full"}
SHARDED = {"compute.shard": True}
MEMBERS = {"reward.members": 2}
IN_GROUPS = tiny.IN_GROUPS
SMALL_STEPS = {"grpo.optimiser.learning_rate": 1e-4}
"""With five times as large ones, one process is 1.3e-5 from itself, too, once its micro-batches are others"""


class Layout(NamedTuple):
    """A model and a recipe, and how the run is spread."""

    shape: str
    changes: dict[str, Any]
    tensor: int = 1
    processes: int = 2
    pipeline: int = 1
    without: Sequence[str] = BARE
    stages: list[str] = KINDS


LAYOUTS = {
    "llama-shared": Layout("llama", ADAPTERS, stages=STAGES),
    "qwen-separate": Layout("qwen", FULL | {"rewards.sources": [STAGE, CLASSIFIER]}),
    "gpt2-shared": Layout("gpt2", ADAPTERS | MEMBERS | {"rewards.sources": [STAGE, TALK]}, without=()),
    "qwen-sharded": Layout("qwen", FULL | SHARDED | MEMBERS, without=("report",)),
    "llama-tensor": Layout(
        f"llama{IN_GROUPS}",
        ADAPTERS | MEMBERS | {"lora.layers": 0.5},
        tensor=2,
        without=("report",),
        stages=OF_ALL_ROWS,
    ),
    "qwen3-tensor": Layout(f"qwen3{IN_GROUPS}", FULL, tensor=2, stages=OF_ALL_ROWS),
    "qwen-pipeline": Layout(
        "qwen",
        FULL | {"rewards.sources": [STAGE, CLASSIFIER, TALK]},
        pipeline=2,
        without=("report",),
        stages=OF_ALL_ROWS,
    ),
}
"""Of each kind of layout one rehearses too; a report reads what a run has left, so that of one will do"""
SLOW = {
    "llama-sharded": Layout("llama", ADAPTERS | SHARDED | MEMBERS),
    "llama-data-and-tensor": Layout(f"llama{IN_GROUPS}", ADAPTERS | SMALL_STEPS, tensor=2, processes=4),
    "qwen3-data-and-tensor": Layout(f"qwen3{IN_GROUPS}", FULL, tensor=2, processes=4),
    "llama-pipeline": Layout("llama", ADAPTERS | MEMBERS | {"lora.layers": 0.5}, pipeline=2),
    "gpt2-pipeline": Layout("gpt2", ADAPTERS, pipeline=2),
    "qwen-data-and-pipeline": Layout("qwen", FULL, pipeline=2, processes=4),
    "llama-data-and-pipeline": Layout("llama", ADAPTERS, pipeline=2, processes=4),
    **{f"{name}-all-stages": spread for name, spread in LAYOUTS.items() if spread.stages != STAGES},
}
"""Their parts are those of others"""
SLOW = {name: spread._replace(stages=STAGES, without=BARE) for name, spread in SLOW.items()}
PARAMETERS = [*map(pytest.param, LAYOUTS), *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(scope="module", params=PARAMETERS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return (LAYOUTS | SLOW)[request.param]


@pytest.fixture(scope="module")
def both(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directories of the same run in one process and in several."""
    place = tmp_path_factory.mktemp("both")
    tiny.classifier(place / "classifier")
    changes = json.loads(json.dumps(layout.changes).replace("PLACE", str(place)))
    recipe = tiny.recipe_file(place, shape=layout.shape, **CHANGES | {"stages": layout.stages} | changes)
    one, several = place / "one", place / "several"
    assert start(recipe, one, 1).wait(300) == 0, said(one)
    options = ("--tp", str(layout.tensor), "--pp", str(layout.pipeline))
    going = start(recipe, several, layout.processes, *options, without=layout.without)
    assert going.wait(300) == 0, said(several)
    return one, several


def test_every_step_of_a_stage_is_that_of_one_process(both: tuple[Path, Path], layout: Layout) -> None:
    one, several = both
    for stage in layout.stages:
        assert_same_steps(several / stage, one / stage)


def test_it_draws_the_same_responses(both: tuple[Path, Path], layout: Layout) -> None:
    one, several = both
    for stage in {"ppo", "dpo", *tiny.WITHOUT_CRITIC}.intersection(layout.stages):
        assert_same_responses(several / stage, one / stage)


def test_it_saves_the_same_weights(both: tuple[Path, Path], layout: Layout) -> None:
    for stage in layout.stages:
        one, two = (load_file(root / stage / "model" / "model.safetensors") for root in both)
        assert one.keys() == two.keys(), stage
        for name, weight in one.items():
            assert float((weight - two[name]).abs().max()) <= 1e-4, (stage, name)


def test_the_record_says_how_many_there_were(both: tuple[Path, Path], layout: Layout) -> None:
    one, several = (json.loads((root / "run.json").read_text()) for root in both)
    assert not {"processes", "tensor", "pipeline"} & one.keys()
    assert several["processes"] == layout.processes
    assert (several.get("tensor", 1), several.get("pipeline", 1)) == (layout.tensor, layout.pipeline)
    assert [said(root).count("as a rule sooner done") for root in both] == [0, 1]
