"""A recipe may state of which schema its keys are: an older one is read, a newer one is refused."""

from pathlib import Path
from typing import Any

import pytest

from truing import __version__
from truing.config import recorded_recipe, resolved_yaml
from truing.config.moved import MOVED
from truing.config.recipe import Recipe
from truing.config.schema import RELEASES, SCHEMA
from truing.core.errors import RecipeError

WORLD = "world: {}\n"


def test_the_schema_of_now_is_that_of_this_version_and_every_key_was_moved_by_one_that_is_known() -> None:
    assert list(RELEASES) == list(range(1, SCHEMA + 1))
    assert __version__.startswith(f"{RELEASES[SCHEMA]}.")
    assert {schema for schema, _, _ in MOVED} <= {*RELEASES} - {1}


@pytest.mark.parametrize("old", [old for _, old, _ in MOVED])
def test_a_name_that_has_moved_never_means_anything_else(old: str) -> None:
    here: Any = Recipe().model_dump()
    *sections, name = old.split(".")
    for section in sections:
        here = here[section]
    assert name not in here


def test_what_is_stated_is_no_option_and_changes_nothing(load: Any, notes: list[str]) -> None:
    assert load(f"schema: {SCHEMA}\n{WORLD}") == load(WORLD)
    assert notes == []


def test_an_older_schema_is_read_and_its_owner_told_how_to_rewrite_it(load: Any, notes: list[str]) -> None:
    assert load(f"schema: 1\n{WORLD}ppo: {{temperature: 0.5}}").rollout.temperature == 0.5
    moved, older = (note.partition(".yaml: ")[2] for note in notes)
    assert moved == "ppo.temperature is called rollout.temperature since truing 0.2."
    assert older.startswith("it is of schema 1, that of truing 0.1, and is read as of schema 2; `truing migrate ")


@pytest.mark.parametrize("read", ["load", "recorded"])
def test_a_newer_schema_is_refused_before_its_keys_are_looked_at(load: Any, tmp_path: Path, read: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: x\nschema: {SCHEMA + 1}\nppo: {{surely_not_a_key: 1}}\n")
    with pytest.raises(RecipeError) as caught:
        load(path.read_text()) if read == "load" else recorded_recipe(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.field, problem.where) == ("recipe/newer-schema", "schema", f"{path}:2")
    assert problem.what == (
        f"schema: is 3, and truing {__version__} reads schemas 1 to 2: it was written by or for a newer one."
    )
    assert "run.json" in str(problem.hint)


@pytest.mark.parametrize("stated", ["0", "-1", "two", "1.0", "true", "[2]"])
def test_what_is_no_schema_is_refused(spots: Any, stated: str) -> None:
    assert spots(f"{WORLD}schema: {stated}") == [("wrong-schema", "schema", "r.yaml:2")]


def test_an_override_cannot_state_it(spots: Any) -> None:
    assert spots(WORLD, "schema=1")[0][:2] == ("unknown-key", "schema")


def test_a_run_states_it(tmp_path: Path) -> None:
    assert resolved_yaml(Recipe()).startswith(f"schema: {SCHEMA}\n")
