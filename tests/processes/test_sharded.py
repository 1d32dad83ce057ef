"""Processes that each keep a part of every weight: the same run, and what becomes of it when one of them ends."""

import json
import signal
from pathlib import Path

import pytest
import tiny
from faults.killed import SHORT, left_behind
from processes.read_in_parts import write_bases
from processes.several import (
    MANY_UPDATES,
    SOON,
    assert_same_responses,
    assert_that_one_hears_while_the_other_hangs,
    in_ranks,
    is_gone,
    kill,
    ranks,
    said,
    start,
    start_anew,
    wait_for_lines,
)
from safetensors import safe_open

from truing.cli.run import GOES_ON
from truing.config import resolved_yaml
from truing.runs.metrics import read_jsonl

pytestmark = pytest.mark.long

SHARDED = {"roles": "separate", "sft.method": "full", "compute.shard": True}
LONG = SHORT | SHARDED | MANY_UPDATES


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("sharded"), **LONG)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    out = recipe.parent / "undisturbed"
    assert start(recipe, out, 2).wait(300) == 0, said(out)
    return out


@pytest.mark.parametrize("rank", [0, 1])
def test_one_is_killed_the_other_ends_and_the_run_goes_on_to_the_same_bytes(
    recipe: Path, undisturbed: Path, rank: int
) -> None:
    out = recipe.parent / f"killed-{rank}"
    going = start_anew(recipe, out, 2) if rank == 0 else start(recipe, out, 2)
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    processes = ranks(going)
    kill(processes[rank])
    assert going.wait(SOON) == 1
    assert all(map(is_gone, processes))
    _, told = said(out).rsplit("\nppo ", 1)  # of which the last line is the step's that was finished
    assert told.splitlines()[1:] == [f"truing: process {rank} was ended by SIGKILL. {GOES_ON}"]
    assert start(recipe, out, 2).wait(300) == 0, said(out)
    assert left_behind(out) == left_behind(undisturbed)


def test_asked_to_end_all_save_the_same_step_and_other_numbers_of_processes_go_on(
    recipe: Path, undisturbed: Path
) -> None:
    out = recipe.parent / "asked"
    lines = 2
    for place, processes in enumerate((2, 1, 3)):
        going = start(recipe, out, processes)
        wait_for_lines(out / "ppo" / "metrics.jsonl", lines + 1, going)
        going.send_signal(signal.SIGTERM)
        assert going.wait(SOON) == 128 + signal.SIGTERM
        assert said(out).count("The same command goes on from there.") == place + 1, said(out)
        lines = len(read_jsonl(out / "ppo" / "metrics.jsonl"))
        (*_, last) = sorted((out / "ppo" / "checkpoints").glob("step-*"))
        assert len(list(last.glob("shard-*.safetensors"))) == (0 if processes == 1 else processes)
    assert start(recipe, out, 2).wait(300) == 0, said(out)
    assert_same_responses(out / "ppo", undisturbed / "ppo")


def test_one_hangs_and_the_other_hears_that_it_is_asked_to_end(recipe: Path) -> None:
    """While it waits for the rows of the one that hangs, deaf as Python is inside a library."""
    assert_that_one_hears_while_the_other_hangs(recipe, recipe.parent / "hangs")


BROKEN = """
def score(prompts, responses):
    raise ValueError("no score")
"""


def test_an_error_of_one_is_told_once_and_at_once(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BROKEN)
    judge = {"taste": f"{tmp_path / 'own.py'}:score"}
    recipe = tiny.recipe_file(tmp_path / "recipe", **SHORT, **SHARDED, **{"evaluation.judges": judge})
    out = tmp_path / "run"
    assert start(recipe, out, 2).wait(SOON) == 2, said(out)
    assert said(out).count("no score") == 1, said(out)
    assert "is gone" not in said(out)


def test_what_cannot_be_spread_is_refused_before_the_first_step(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    made = tiny.chat_recipe(tmp_path, **{"stages": ["sft"], "roles": "shared", "compute.shard": True})
    recipe.write_text(resolved_yaml(made), encoding="utf-8")
    out = tmp_path / "run"
    assert start(recipe, out, 2).wait(SOON) == 2, said(out)
    assert said(out).count("learns rows of new tokens beside an adapter") == 1, said(out)


def test_a_run_goes_on_where_each_keeps_all_and_where_each_keeps_a_part(recipe: Path, undisturbed: Path) -> None:
    out, lines = recipe.parent / "either", 2
    for place, shard in enumerate(("false", "true")):
        going = start(recipe, out, 2, "--set", f"compute.shard={shard}")
        wait_for_lines(out / "ppo" / "metrics.jsonl", lines + 1, going)
        going.send_signal(signal.SIGTERM)
        assert going.wait(SOON) == 128 + signal.SIGTERM, said(out)
        lines = len(read_jsonl(out / "ppo" / "metrics.jsonl"))
        record = json.loads((out / "run.json").read_text())
        assert [row.get("shard", False) for row in record.get("continued", [])] == [True] * place
    assert start(recipe, out, 2, "--set", "compute.shard=false").wait(300) == 0, said(out)
    assert_same_responses(out / "ppo", undisturbed / "ppo")


def test_numbers_that_are_not_finite_are_told_once(recipe: Path) -> None:
    out = recipe.parent / "broken"
    going = start(recipe, out, 2, "--set", "sft.optimiser.learning_rate=1e9")
    assert going.wait(SOON) == 1, said(out)
    assert said(out).count("sft step ") == 1, said(out)


PARTS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import tiny
import torch
from processes import read_in_parts
from truing.config.sections import Base, Compute
from truing.models.layout import base_to_train
from truing.processes import group

def kept():
    return group.all_gather(sum(base.parts.own_part(weight).numel() for weight in base.model.parameters()))

with group.joined(), torch.no_grad():
    whole = sum(weight.numel() for weight in tiny.model(f"llama{tiny.IN_GROUPS}").parameters())
    read_in_parts.check(Path(sys.argv[2]), Compute(shard=True))
    with read_in_parts.in_stages():
        read_in_parts.check(Path(sys.argv[2]), Compute())
    base = base_to_train(Base(path=f"{sys.argv[2]}/untied"), Compute(shard=True), by_adapter=False)
    role, tokens = base.role(), torch.tensor([[3, 1, 4]])
    parts = [kept()]
    with role.gathered():  # one process may have no part of the work
        alone = role.hidden(tokens, torch.ones_like(tokens)) if group.is_owner() else None
    parts.append(kept())
    together = role.hidden(tokens, torch.ones_like(tokens))
    role.release()
    parts.append(kept())
    if group.is_owner():
        assert torch.equal(alone, together)
        print(whole, *(part for both in parts for part in both))
"""


def test_each_keeps_its_part_of_the_weights_and_no_more_once_it_has_computed(tmp_path: Path) -> None:
    write_bases(tmp_path)
    whole, *own = map(int, in_ranks(PARTS, tmp_path, 2, str(Path(__file__).parents[1]), str(tmp_path)).split())
    assert [sum(own[:2]), sum(own[2:4]), sum(own[4:])] == [whole] * 3
    assert max(own) <= 0.51 * whole


def test_what_a_checkpoint_holds_of_a_sharded_weight_is_the_rows_of_each(recipe: Path) -> None:
    out = recipe.parent / "rows"
    going = start(recipe, out, 2)
    wait_for_lines(out / "sft" / "metrics.jsonl", 3, going)
    going.send_signal(signal.SIGTERM)
    going.wait(SOON)
    (*_, last) = sorted((out / "sft" / "checkpoints").glob("step-*"))
    name = "weights/policy/model.layers.0.mlp.up_proj.weight"
    rows = []
    for file in sorted(last.glob("shard-*.safetensors")):
        with safe_open(file, framework="pt") as shard:
            rows.append(shard.get_slice(name).get_shape()[0])
    assert rows == [16, 16]
