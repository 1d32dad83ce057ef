"""A run that must stop and has no time to finish leaves what it does, wherever it is, and loses nothing by it."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import tiny
from faults.killed import EVERY, SHORT, Death, Runs, has_ended, left_behind, running_stage
from forked import forked

pytestmark = pytest.mark.long

CHANGES = SHORT | {"compute.learn_tokens": 20, "checkpoints.every_steps": 1000}
"""No checkpoint is due, so that what is kept was saved because of the stop"""
RECIPES = [
    pytest.param("shared", EVERY, id="shared"),
    pytest.param("separate", EVERY, id="separate", marks=pytest.mark.slow),
]
STOPS = 20
"""At random moments, in every stage"""
AT_ONCE = "what was finished is saved"
PLACES: list[tuple[str, Death, str]] = [
    ("inputs", ("before", "truing.pipeline.opening", "fingerprint", 2), AT_ONCE),
    ("encoding", ("before", "truing.data.prepared", "encode_records", 1), AT_ONCE),
    ("micro-batches", ("before", "truing.stages.sft", "response_logprobs", 20), "sft is saved after step 4"),
    (
        "an optimiser step",
        ("after", "torch.optim", "AdamW.step", 2),
        "sft is saved after step 4, and 1 more that was finished will be done again",
    ),
    (
        "the last evaluation of a reward model, once its weights have changed",
        ("before", "truing.stages.reward_scores", "pair_card", 1),
        "reward is at its beginning, and 2 more that were finished will be done again",
    ),
    ("a report card", ("before", "truing.stages.reward_scores", "pair_card", 2), "reward is saved after step 3"),
    ("a save, which is finished", ("after", "truing.stages.reward_files", "save_normalisation", 1), "reward is done"),
    ("loading", ("before", "truing.models.load", "exact_backend", 1), AT_ONCE),
    (
        "the first evaluation",
        ("before", "truing.evaluation.heldout", "response_logprobs", 1),
        "ppo is at its beginning",
    ),
    ("a rollout", ("before", "truing.kernels.next_token", "draw_tokens", 15), "ppo is saved after step 1"),
    ("scoring", ("before", "truing.models.scoring", "distribution_of", 1), "ppo is saved after step 1"),
    ("a backward", ("before", "truing.stages.ppo", "ppo_value_loss", 1), "ppo is saved after step 1"),
    (
        "amid the optimiser steps of an update",
        ("before", "truing.training.learner", "Learner.step", 6),
        "ppo is saved after step 1, and 1 more that was finished will be done again",
    ),
    ("an evaluation", ("before", "truing.evaluation.heldout", "as_samples", 1), "ppo is saved after step 1"),
    ("a line of the log", ("before", "truing.training.journal", "Journal.done", 1), "ppo is saved after step 1"),
    ("DPO", ("before", "truing.stages.dpo", "dpo_loss", 10), "dpo is saved after step 1"),
    (
        "a reference point, which takes a pass of its own",
        ("before", "truing.stages.kto", "kto_reference_point", 2),
        "kto is saved after step 1",
    ),
    ("the report", ("before", "truing.cli.run", "write_report", 1), AT_ONCE),
]
"""Where a run is left, time after time, and what it says of itself then"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_left_anywhere_it_says_what_is_kept_and_ends_as_if_it_had_not_been(
    number: int, runs: Runs, recipe: Path, undisturbed: dict[str, str]
) -> None:
    out = recipe.parent / f"left-{number}"
    for place, moment, told in PLACES:
        assert runs.stops(recipe, out, moment, number), place
        last = out.with_suffix(".log").read_text().splitlines()[-1]
        assert last == f"truing: interrupted, {told}. The same command goes on from there.", place
    runs.start(recipe, out)
    assert not runs.end()
    assert left_behind(out) == undisturbed


@pytest.mark.slow
def test_left_at_random_moments_it_ends_as_if_it_had_not_been(
    runs: Runs, recipe: Path, stages: list[str], undisturbed: dict[str, str]
) -> None:
    """As `test_kills` does with kills: in its rounds a stage may be left before, amid or after any line of Python."""
    stops, moments, equal = Counter[str](), random.Random(17), 0
    while min(stops[stage] for stage in stages) < STOPS:
        out = recipe.parent / f"random-{equal}"
        number = moments.choice([signal.SIGTERM, signal.SIGINT])
        while runs.dies_by_the_clock(recipe, out, moments.randint(0, 2), moments.uniform(0, 0.3), number):
            stops[running_stage(out)] += 1
        assert left_behind(out) == undisturbed
        equal += 1
    print(f"\n{recipe.parent.name}: {dict(stops)} stops, {equal} runs, all equal")


HANGS = """
import os, time
from pathlib import Path

place, calls = Path(__file__).parent, 0

def score(prompts, responses):
    global calls
    calls += 1
    if calls == 3 and (place / "hangs").exists():
        (place / "partial").write_text(str(os.getpid()))
        (place / "partial").rename(place / "pid")
        time.sleep(600)
    return [float(len(response)) for response in responses]
"""
"""The third call is that of the second update"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_reward_function_that_hangs_does_not_keep_a_run_from_ending(number: int, runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    reward = {"kind": "function", "path": f"{tmp_path / 'hangs.py'}:score", "normalise": False}
    changes = {"stages": ["sft", "ppo"], "rewards.sources": [reward], "functions.seconds": 600}
    recipe, out = tiny.recipe_file(tmp_path, **changes), tmp_path / "run"
    runs.start(recipe, tmp_path / "undisturbed")
    assert not runs.end()
    (tmp_path / "hangs").touch()
    told = tmp_path / "told"
    process = forked(["run", str(recipe), "--out", str(out)], tmp_path / "said", told)
    while not (tmp_path / "pid").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert told.read_text() == "truing: interrupted, ppo is saved after step 1. The same command goes on from there.\n"
    assert has_ended(int((tmp_path / "pid").read_text()))
    (tmp_path / "hangs").unlink()
    runs.start(recipe, out)
    assert not runs.end()
    assert left_behind(out) == left_behind(tmp_path / "undisturbed")
