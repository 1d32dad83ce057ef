"""`truing migrate` rewrites a file where nothing is lost, and says what moved."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from truing.config.schema import SCHEMA
from truing.runs.no_run import RECORD

OLD = "# mine\nname: x\nworld: {}\nppo: {temperature: 0.5}   # hot\n"
LOSING = "world: {}\nvariants: {a: {ppo.temperature: 2.0}}   # hotter\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(OLD)
    return path


def test_a_recipe_is_rewritten_in_place_once(truing: Any, recipe: Path) -> None:
    said = truing("migrate", recipe)
    assert said.out.splitlines() == [
        f"{recipe}: ppo.temperature is called rollout.temperature since truing 0.2.",
        f"{recipe}: written for schema 2.",
    ]
    assert "schema: 2\n" in recipe.read_text()
    assert "rollout:\n  temperature: 0.5" in recipe.read_text()
    written = recipe.read_bytes()
    assert truing("migrate", recipe).out == f"{recipe}: is of schema 2 already.\n"
    assert recipe.read_bytes() == written


def test_another_file_is_written_but_never_over_one(truing: Any, recipe: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    assert truing("migrate", recipe, "--to", new).code == 0
    assert recipe.read_text() == OLD
    assert "schema: 2\n" in new.read_text()
    assert truing("migrate", recipe, "--to", new).spots == [("recipe/file-exists", None, str(new))]


def test_another_file_is_not_written_where_its_paths_would_lead_elsewhere(
    truing: Any, recipe: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    new = tmp_path / "other" / "new.yaml"
    assert truing("migrate", recipe, "--to", new).spots == [("recipe/other-folder", None, str(new))]
    assert not new.exists()
    (tmp_path / RECORD).write_text("{}")  # in a run, whose paths are absolute
    assert truing("migrate", recipe, "--to", new).code == 0


def test_comments_are_lost_only_where_another_file_is_named(truing: Any, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(LOSING)
    said = truing("migrate", recipe)
    assert (said.code, said.spots) == (2, [("recipe/comments-lost", None, str(recipe))])
    assert "such as '# hotter'" in said.err
    assert recipe.read_text() == LOSING
    said = truing("migrate", recipe, "--to", tmp_path / "new.yaml")
    assert said.err == f"truing: {tmp_path / 'new.yaml'}: there was no place for the comment # hotter\n"


def test_what_a_run_recorded_is_left_alone(truing: Any, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("{}")
    assert truing("migrate", recipe).spots == [("recipe/of-a-run", None, str(recipe))]
    assert recipe.read_text() == OLD


@pytest.mark.usefixtures("bare")
def test_a_run_of_a_newer_truing_says_what_to_install(truing: Any, tmp_path: Path) -> None:
    recipe, run = tiny.recipe_file(tmp_path, stages=["sft"]), tmp_path / "run"
    assert truing("run", recipe, "--out", run).code == 0
    recorded = (run / "recipe.yaml").read_text()
    assert recorded.startswith(f"schema: {SCHEMA}\n")
    (run / "recipe.yaml").write_text(recorded.replace(f"schema: {SCHEMA}", f"schema: {SCHEMA + 1}", 1))
    said = truing("run", recipe, "--out", run)
    assert (said.code, said.spots) == (2, [("recipe/newer-schema", "schema", f"{run / 'recipe.yaml'}:1")])
    assert "Install the newest" in said.err
    (run / "recipe.yaml").write_text(recorded.partition("\n")[2])  # as runs had it before schemas were stated
    assert "nothing left to run" in truing("run", recipe, "--out", run).out
