"""A new algorithm is a file, a section and an entry: a copy of truing is given one, and runs it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
from architecture.sources import PACKAGE

pytestmark = pytest.mark.long

OWN = "stages/toy.py"
STAGE = '''"""A toy: some steps on all demonstrations at once."""

from dataclasses import dataclass
from typing import Any

from truing.models.layout import trained_role
from truing.models.load import load_base
from truing.stages.offline import learn_rows
from truing.stages.sft import completion_loss
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, Trained


@dataclass(frozen=True)
class ToyResult:
    steps: int
    train_rows: int
    loss: float


def train_toy(job: Job) -> ToyResult:
    recipe, settings = job.recipe, job.recipe.toy
    base, rows = load_base(job.start, recipe.compute), job.demonstrations().train
    policy = trained_role(base, "policy", recipe.lora, recipe.seed)
    trained = Trained("policy", policy, settings.optimiser.learning_rate)
    learner = Learner([trained], settings.optimiser, settings.steps, recipe.compute.learn_tokens)
    plan = [list(range(len(rows)))] * settings.steps
    with open_journal(job, learner, len(plan)) as journal:
        learn_rows(journal, learner, rows, plan, [lambda batch: completion_loss(policy, batch)], shown=("loss",))
    result = ToyResult(len(plan), len(rows), journal.latest("loss"))
    job.save_policy(policy, base, result)
    return result


def toy_outcome(stage: Any) -> str:
    return f"loss {stage.metrics[-1]['loss']:.2f}"
'''
SETTINGS = '''class Toy(Section):
    """A toy."""

    steps: Count = Field(2, description="Optimiser steps.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=1e-3), description="How it learns.")


'''
ENTRY = """    StageSpec(
        name="toy",
        title="a toy",
        train="truing.stages.toy:train_toy",
        outcome="truing.stages.toy:toy_outcome",
        learns_from=("train_rows", "demonstrations"),
        metrics=metrics.SFT,
        datasets=("demonstrations",),
        depends_on=(*EVERY_STAGE, "toy", "data.demonstrations", "data.heldout"),
        makes="language model",
        starts_from="sft",
        samples=False,
    ),
"""
INSERTED = {
    "config/algorithms.py": {
        "class Algorithms(Section):": SETTINGS,
        "    dpo: Dpo = ": '    toy: Toy = Field(default_factory=Toy, description="A toy.")\n',
    },
    "config/stages.py": {")\nSTAGES = {": ENTRY},
}
"""What is inserted into files of truing, each time before some text"""
PAGE = "docs/algorithms/toy.md"
MOST_TOUCHED = 4


COMMANDS = """
import json, sys
from truing.cli import main
for sys.argv in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        assert not end.code
    print(end="\\f")
"""
TOY = [word for one in ("stages=[sft, toy]", "variants.far.toy.steps=3", "sft.epochs=1") for word in ("--set", one)]


@dataclass(frozen=True)
class Copy:
    """truing with a toy, in a directory of its own, and a recipe beside it."""

    root: Path

    def truing(self, *commands: Sequence[object]) -> list[str]:
        """What each command prints, one after another in one process; they must succeed."""
        told = json.dumps([["truing", *map(str, arguments)] for arguments in commands])
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "COLUMNS": "200"}
        command = [sys.executable, "-c", COMMANDS, told]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.root)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split("\f")[:-1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    root = tmp_path_factory.mktemp("house")
    package = root / "src" / "truing"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / OWN).write_text(STAGE)
    for name, insertions in INSERTED.items():
        text = (package / name).read_text(encoding="utf-8")
        for anchor, insertion in insertions.items():
            assert text.count(anchor) == 1, f"{anchor!r} is not once in {name}"
            text = text.replace(anchor, insertion + anchor)
        (package / name).write_text(text, encoding="utf-8")
    tiny.recipe_file(root)
    return Copy(root)


@pytest.fixture(scope="module")
def printed(copy: Copy) -> list[str]:
    """What a run of the toy prints, and a fork of it."""
    run = ["run", "recipe.yaml", "--out", "run", *TOY]
    return copy.truing(run, [*run, "--fork-to", "fork", "--set", "variants.far.toy.steps=1"])


def test_no_more_than_four_files_are_touched_outside_its_own() -> None:
    assert len({*INSERTED, PAGE}) <= MOST_TOUCHED


def test_it_is_planned_trained_and_reported_like_others(copy: Copy, printed: list[str]) -> None:
    rows = {line.split()[0]: line for line in printed[0].splitlines() if line.strip()}
    assert all("loss " in rows[stage] for stage in ("toy", "toy-far"))
    record = json.loads((copy.root / "run" / "run.json").read_text())
    assert [(stage["name"], stage["state"]) for stage in record["stages"]] == [
        ("sft", "done"),
        ("toy", "done"),
        ("toy-far", "done"),
    ]
    for stage, steps in (("toy", 2), ("toy-far", 3)):
        assert json.loads((copy.root / "run" / stage / "result.json").read_text())["steps"] == steps
        assert (copy.root / "run" / stage / "model" / "model.safetensors").is_file()
    page = (copy.root / "run" / "report.html").read_text()
    assert "toy-far" in page


def test_it_is_forked_like_others(copy: Copy, printed: list[str]) -> None:
    assert "taken over from run: sft, toy\n" in printed[1]
    assert json.loads((copy.root / "fork" / "toy-far" / "result.json").read_text())["steps"] == 1


def test_its_settings_are_in_the_schema(copy: Copy) -> None:
    (said,) = copy.truing(["recipes", "--schema"])
    schema = json.loads(said)
    assert schema["$defs"]["Toy"]["properties"]["steps"]["description"] == "Optimiser steps."
    assert "toy" in schema["properties"]["stages"]["items"]["enum"]
