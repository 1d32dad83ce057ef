"""A run that is killed, as often as one likes, ends as the run that never was: the same bytes."""

import random
from pathlib import Path

import pytest
import tiny
from faults.killed import left_behind, run_killed_after_lines, run_killed_after_save, run_to_the_end

STAGES = ["sft", "reward", "ppo", "dpo"]
CHANGES = {
    "stages": STAGES,
    "sft.epochs": 2,
    "ppo.updates": 4,
    "ppo.heldout_every": 2,
    "ppo.kl": {"beta": 0.5, "controller": "adaptive", "target": 1e-3, "horizon": 16.0},
    "dpo.heldout_every": 2,
    "checkpoints.every_steps": 1,
}


@pytest.fixture(scope="module", params=["shared", "separate"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    return tiny.recipe_file(place, roles=request.param, **CHANGES)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> dict[str, str]:
    out = recipe.parent / "undisturbed"
    run_to_the_end(recipe, out)
    files = left_behind(out)
    assert all(f"{stage}/result.json" in files and f"{stage}/metrics.jsonl" in files for stage in STAGES)
    assert not any("checkpoints" in name for name in files)
    return files


def test_killed_in_every_stage_it_ends_as_if_it_had_not_been(recipe: Path, undisturbed: dict[str, str]) -> None:
    """Each process dies after its fifth save, so every stage is taken up again at least once."""
    out = recipe.parent / "killed"
    attempts = 0
    while not (out / "report.html").exists():
        attempts += 1
        assert attempts < 20
        run_killed_after_save(recipe, out, save=5)
    assert attempts > len(STAGES)
    assert left_behind(out) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(
    recipe: Path, undisturbed: dict[str, str], seed: int
) -> None:
    """Each process dies as soon as it has logged so many more lines, whatever it is writing then."""
    out, moments = recipe.parent / f"random-{seed}", random.Random(seed)
    kills = 0
    while run_killed_after_lines(recipe, out, moments.randint(2, 12)):
        kills += 1
        assert kills < 20
    assert kills > 0
    assert left_behind(out) == undisturbed
