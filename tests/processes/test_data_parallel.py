"""Two processes that share the work of a run make the run that one process makes, to rounding."""

import json
from pathlib import Path

import pytest
import tiny
from faults.killed import SHORT, STAGES
from processes.several import start
from safetensors.torch import load_file

from truing.runs.metrics import read_jsonl

ROUNDING = 1e-5
CHANGES = SHORT | {"checkpoints.every_steps": 1}
STAGE, CLASSIFIER = {"kind": "stage"}, {"kind": "model", "path": "PLACE/classifier"}
LAYOUTS = {
    "llama-shared": ("llama", {"roles": "shared"}),
    "qwen-separate": ("qwen", {"roles": "separate", "sft.method": "full", "rewards.sources": [STAGE, CLASSIFIER]}),
    "gpt2-shared": ("gpt2", {"roles": "shared"}),
    "llama-sharded": ("llama", {"roles": "shared", "compute.shard": True}),
    "qwen-sharded": ("qwen", {"roles": "separate", "sft.method": "full", "compute.shard": True}),
}


SLOW = "llama-sharded"
"""Its parts are those of two others"""


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] if name == SLOW else []) for name in LAYOUTS]
)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directories of the same run in one process and in two."""
    place = tmp_path_factory.mktemp(request.param)
    shape, layout = LAYOUTS[request.param]
    tiny.classifier(place / "classifier")
    changes = json.loads(json.dumps(layout).replace("PLACE", str(place)))
    recipe = tiny.recipe_file(place, shape=shape, **CHANGES, **changes)
    for processes in (1, 2):
        ended = start(recipe, place / str(processes), processes).wait(300)
        assert ended == 0, (place / f"{processes}.log").read_text()
    return place / "1", place / "2"


@pytest.mark.parametrize("stage", STAGES)
def test_every_step_of_a_stage_is_that_of_one_process(both: tuple[Path, Path], stage: str) -> None:
    one, two = (read_jsonl(root / stage / "metrics.jsonl") for root in both)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            undecided = name == "accuracy" and abs(row.get("margin", 1.0)) < ROUNDING  # the sign of nothing
            if not (name.endswith("_s") or undecided):
                assert other[name] == pytest.approx(value, abs=ROUNDING, rel=ROUNDING), (row["step"], name)


@pytest.mark.parametrize("stage", ["ppo", "dpo"])
def test_it_draws_the_same_responses(both: tuple[Path, Path], stage: str) -> None:
    one, two = (read_jsonl(root / stage / "samples.jsonl") for root in both)
    assert [row["response"] for row in one] == [row["response"] for row in two]


@pytest.mark.parametrize("stage", STAGES)
def test_it_saves_the_same_weights(both: tuple[Path, Path], stage: str) -> None:
    one, two = (load_file(root / stage / "model" / "model.safetensors") for root in both)
    assert one.keys() == two.keys()
    for name, weight in one.items():
        assert float((weight - two[name]).abs().max()) <= 1e-4, name


def test_the_record_says_how_many_there_were(both: tuple[Path, Path]) -> None:
    one, two = (json.loads((root / "run.json").read_text()) for root in both)
    assert "processes" not in one
    assert two["processes"] == 2
