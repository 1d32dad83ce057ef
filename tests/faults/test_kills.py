"""A run that is killed, as often as one likes, ends as the run that never was: the same bytes."""

import random
from collections import Counter
from pathlib import Path

import pytest
from faults.killed import EVERY, SHORT, Death, Runs, left_behind, running_stage

pytestmark = pytest.mark.long

CHANGES = SHORT | {"checkpoints.every_steps": 1, "reward.members": 2}
RECIPES = [
    pytest.param("shared", EVERY, id="shared"),
    pytest.param("separate", ["sft", "reward", "ppo"], id="separate"),
    pytest.param("separate", EVERY, id="separate, every stage", marks=pytest.mark.slow),
]
KILLS = 20
"""At random moments, in every stage"""


def test_killed_after_every_save_it_ends_as_if_it_had_not_been(
    runs: Runs, recipe: Path, stages: list[str], undisturbed: dict[str, str]
) -> None:
    """So every step of every stage, those at an epoch's edge among them, begins in a process of its own."""
    out, kills = recipe.parent / "killed", Counter[str]()
    while runs.dies(recipe, out, ("after", "truing.training.journal", "save_checkpoint", 1)):
        kills[running_stage(out)] += 1
    assert kills == {"sft": 6} | dict.fromkeys(stages[1:], 3)
    assert left_behind(out) == undisturbed


BETWEEN: list[Death] = [
    (moment, module, name, 1)
    for module, name in (("truing.pipeline.execute", "write_json"), ("truing.runs.lineage", "Lineage.finish"))
    for moment in ("before", "after")
]
"""Around the result of a stage that is saved, and around the record that it is done"""


def test_killed_between_stages_it_ends_as_if_it_had_not_been(
    runs: Runs, recipe: Path, undisturbed: dict[str, str]
) -> None:
    out, kills = recipe.parent / "between", 0
    for death in BETWEEN * 2:
        kills += runs.dies(recipe, out, death)
    runs.start(recipe, out)
    assert not runs.end()
    assert kills > len(BETWEEN)
    assert left_behind(out) == undisturbed


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(
    runs: Runs, recipe: Path, stages: list[str], undisturbed: dict[str, str]
) -> None:
    """One run after another, until each stage was killed often enough, whatever it was doing then."""
    kills, moments, equal = Counter[str](), random.Random(17), 0
    while min(kills[stage] for stage in stages) < KILLS:
        out = recipe.parent / f"random-{equal}"
        while runs.dies_by_the_clock(recipe, out, moments.randint(0, 2), moments.uniform(0, 0.3)):
            kills[running_stage(out)] += 1
        assert left_behind(out) == undisturbed
        equal += 1
    print(f"\n{recipe.parent.name}: {dict(kills)} kills, {equal} runs, all equal")
