"""What `truing sweep` refuses before anything runs, and what it says on the way."""

from pathlib import Path

import pytest
import tiny
from cli.conftest import Command


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe_file(tmp_path_factory.mktemp("recipe"))


@pytest.mark.parametrize(
    ("options", "spot"),
    [
        (["--set", "ppo.kl.beta=0.1,-1"], ("recipe/wrong-value", "ppo.kl.beta", "--set ppo.kl.beta=-1")),
        (["--set", "seed=1,2"], ("recipe/swept-seed", None, "--set seed")),
    ],
)
def test_a_grid_that_is_not_sound_begins_nothing(
    truing: Command, recipe: Path, tmp_path: Path, options: list[str], spot: tuple[str, str | None, str]
) -> None:
    said = truing("sweep", recipe, *options, "--out", tmp_path / "out")
    assert said.code == 2
    assert said.spots == [spot]
    assert not (tmp_path / "out").exists()


def test_rows_functions_and_directories_of_all_points_are_looked_at_first(
    truing: Command, recipe: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "out" / "data.preferences.path=none.jsonl" / "seed-17"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("mine")
    pairs = f"data.preferences.path={recipe.parent / 'preferences.jsonl'},none.jsonl"
    said = truing(
        "sweep", recipe, "--set", pairs, "--set", "evaluation.judges.own=no_module:f", "--out", tmp_path / "out"
    )
    assert said.code == 2
    assert {code for code, _, _ in said.spots} >= {"run/not-a-run", "rewards/not-imported"}
    assert any("none.jsonl" in (where or "") for _, _, where in said.spots)
    assert [file.name for file in (tmp_path / "out").rglob("*") if file.is_file()] == ["mine.txt"]


def test_a_run_is_no_place_for_a_sweep(truing: Command, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    said = truing("sweep", recipe, "--set", "ppo.kl.beta=0.1,1.0", "--out", tmp_path)
    assert (said.code, [code for code, _, _ in said.spots]) == (2, ["run/no-sweep"])
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_policy_whose_distance_nobody_measures_has_no_place_on_a_frontier(
    truing: Command, recipe: Path, tmp_path: Path
) -> None:
    options = ["--set", "simpo.beta=1.0,2.0", "--set", "stages=[sft, simpo]", "--set", "roles=separate"]
    said = truing("sweep", recipe, *options, "--out", tmp_path / "out")
    assert (said.code, {(code, field) for code, field, _ in said.spots}) == (2, {("recipe/no-distance", "roles")})
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_nowhere_is_told_once_of_all_runs_below_it(
    truing: Command, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    said = truing("sweep", recipe, "--set", "ppo.kl.beta=0.1,1.0", "--out", tmp_path / "link")
    assert said.code == 2
    assert said.spots == [("run/no-directory", None, str(tmp_path / "link"))]
