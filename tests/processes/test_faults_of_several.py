"""What becomes of a run of two processes when one of them is killed, hangs, or meets an error.

The run that the others are compared with, and what depends on how a process is started, is begun by a command line.
"""

import signal
import time
from pathlib import Path

import pytest
import tiny
from faults.killed import SHORT, left_behind
from processes.several import (
    SOON,
    assert_same_responses,
    assert_that_one_hears_while_the_other_hangs,
    is_gone,
    kill,
    ranks,
    said,
    start,
    start_anew,
    wait_for_lines,
)

pytestmark = pytest.mark.long

LONG = SHORT | {"stages": ["sft", "reward", "ppo"], "checkpoints.every_steps": 1, "ppo.updates": 6}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("several"), **LONG)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> dict[str, str]:
    out = recipe.parent / "undisturbed"
    assert start_anew(recipe, out, 2).wait(300) == 0, said(out)
    return left_behind(out)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_is_killed_the_other_ends_and_the_run_goes_on_to_the_same_bytes(
    recipe: Path, undisturbed: dict[str, str], rank: int
) -> None:
    out = recipe.parent / f"killed-{rank}"
    going = start(recipe, out, 2)
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    processes = ranks(going)
    kill(processes[rank])
    assert going.wait(SOON) == 1
    assert all(map(is_gone, processes))
    assert said(out).count("The same command goes on") == 1, said(out)
    assert f"process {rank} was ended by SIGKILL" in said(out)
    assert start(recipe, out, 2).wait(300) == 0, said(out)
    assert left_behind(out) == undisturbed


def test_asked_to_end_all_save_the_same_step_and_go_on_to_the_same_bytes(
    recipe: Path, undisturbed: dict[str, str]
) -> None:
    out = recipe.parent / "asked"
    going = start(recipe, out, 2)
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    going.send_signal(signal.SIGTERM)
    assert going.wait(SOON) == 128 + signal.SIGTERM
    assert said(out).count("The same command goes on from there.") == 1, said(out)
    assert start(recipe, out, 2).wait(300) == 0, said(out)
    assert left_behind(out) == undisturbed


def test_one_of_them_is_asked_to_end_and_all_do(recipe: Path) -> None:
    out = recipe.parent / "one-asked"
    going = start(recipe, out, 2)
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    kill(ranks(going)[1], signal.SIGTERM)
    assert going.wait(SOON) == 128 + signal.SIGTERM
    assert said(out).count("The same command goes on from there.") == 1, said(out)


def test_what_nohup_has_them_ignore_stays_ignored(recipe: Path) -> None:
    out = recipe.parent / "nohup"
    going = start(recipe, out, 2, ignored=[signal.SIGHUP])
    wait_for_lines(out / "sft" / "metrics.jsonl", 2, going)
    processes = ranks(going)
    going.send_signal(signal.SIGHUP)
    wait_for_lines(out / "reward" / "metrics.jsonl", 2, going)
    going.send_signal(signal.SIGUSR1)
    assert going.wait(SOON) == 128 + signal.SIGUSR1
    assert all(map(is_gone, processes))


@pytest.mark.parametrize("processes", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_another_number_of_processes_goes_on(recipe: Path, undisturbed: dict[str, str], processes: int) -> None:
    out = recipe.parent / f"on-{processes}"
    going = start(recipe, out, 2)
    wait_for_lines(out / "ppo" / "metrics.jsonl", 3, going)
    kill(ranks(going)[0])
    assert going.wait(SOON) == 1
    assert start(recipe, out, processes).wait(300) == 0, said(out)
    assert_same_responses(out / "ppo", recipe.parent / "undisturbed" / "ppo")


def test_one_hangs_and_the_other_hears_that_it_is_asked_to_end(recipe: Path) -> None:
    """While it waits for the one that hangs, deaf as Python is inside a library."""
    assert_that_one_hears_while_the_other_hangs(recipe, recipe.parent / "hangs")


@pytest.mark.parametrize("soon", [True, False])
def test_whoever_started_them_is_gone_and_so_are_they(recipe: Path, soon: bool) -> None:
    out = recipe.parent / f"orphans-{soon}"
    going = start(recipe, out, 2)
    while not (processes := ranks(going)) or len(processes) < 2:
        time.sleep(0.02)
    if not soon:
        wait_for_lines(out / "sft" / "metrics.jsonl", 2, going)
    going.kill()
    going.wait()
    began = time.monotonic()
    while not all(map(is_gone, processes)):
        assert time.monotonic() < began + SOON
        time.sleep(0.1)
    assert not (out / "ppo" / "result.json").exists(), "they are gone because they were done"


FAILING = """
import os

def score(prompts, responses):
    raise ValueError(f"no score in world {os.environ.get('WORLD_SIZE')}")
"""


def test_an_error_is_told_once_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FAILING)
    judge = {"taste": f"{tmp_path / 'own.py'}:score"}
    recipe = tiny.recipe_file(tmp_path / "recipe", **SHORT, **{"evaluation.judges": judge})
    going = start(recipe, tmp_path / "run", 2, without=())
    assert going.wait(240) == 2, said(tmp_path / "run")
    assert said(tmp_path / "run").count("no score in world None") == 1, said(tmp_path / "run")


def test_a_recipe_that_is_not_sound_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\nstages: [sfd]\n")
    assert start_anew(tmp_path / "recipe.yaml", tmp_path / "run", 2).wait(60) == 2
    assert said(tmp_path / "run").count("sfd") == 1, said(tmp_path / "run")
