"""What becomes of a run of two processes when one of them is killed, hangs, or meets an error."""

import signal
import time
from pathlib import Path

import pytest
import tiny
from faults.killed import SHORT, left_behind
from processes.several import is_gone, kill, ranks, said, start, wait_for_lines

LONG = SHORT | {"checkpoints.every_steps": 1, "ppo.updates": 6}
SOON = 20.0
"""Seconds in which everything has ended: more than a step, a save and the guard's patience together"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("several"), **LONG)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> dict[str, str]:
    out = recipe.parent / "undisturbed"
    assert start(recipe, out, 2).wait(300) == 0, said(out)
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


def test_one_hangs_and_the_other_hears_that_it_is_asked_to_end(recipe: Path) -> None:
    """While it waits for the one that hangs, deaf as Python is inside a library."""
    out = recipe.parent / "hangs"
    going = start(recipe, out, 2)
    wait_for_lines(out / "sft" / "metrics.jsonl", 2, going)
    owner, hanging = ranks(going)
    kill(hanging, signal.SIGSTOP)
    time.sleep(1)
    going.send_signal(signal.SIGTERM)
    began = time.monotonic()
    while not is_gone(owner):
        assert time.monotonic() < began + SOON
        time.sleep(0.1)
    kill(hanging)
    assert going.wait(SOON) != 0


def test_whoever_started_them_is_gone_and_so_are_they(recipe: Path) -> None:
    out = recipe.parent / "orphans"
    going = start(recipe, out, 2)
    wait_for_lines(out / "sft" / "metrics.jsonl", 2, going)
    processes = ranks(going)
    going.kill()
    going.wait()
    began = time.monotonic()
    while not all(map(is_gone, processes)):
        assert time.monotonic() < began + SOON
        time.sleep(0.1)


FAILING = """
import os

def score(prompts, responses):
    raise ValueError("no score today")
"""


def test_an_error_is_told_once_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FAILING)
    judge = {"taste": f"{tmp_path / 'own.py'}:score"}
    recipe = tiny.recipe_file(tmp_path / "recipe", **SHORT, **{"evaluation.judges": judge})
    going = start(recipe, tmp_path / "run", 2)
    assert going.wait(240) == 2, said(tmp_path / "run")
    assert said(tmp_path / "run").count("no score today") == 1, said(tmp_path / "run")


def test_a_recipe_that_is_not_sound_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\nstages: [sfd]\n")
    assert start(tmp_path / "recipe.yaml", tmp_path / "run", 2).wait(60) == 2
    assert said(tmp_path / "run").count("sfd") == 1, said(tmp_path / "run")
