"""Runs that are disturbed, and the one that is not, which they are compared with.

A module's RECIPES name the roles and stages of each.
"""

from pathlib import Path

import pytest
import tiny
from faults.killed import Runs, left_behind


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stages" in metafunc.fixturenames:
        metafunc.parametrize(("roles", "stages"), metafunc.module.RECIPES, scope="module")


@pytest.fixture(scope="module")
def recipe(
    request: pytest.FixtureRequest, roles: str, stages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """With the module's own CHANGES."""
    changes = request.module.CHANGES | {"roles": roles, "stages": stages}
    return tiny.recipe_file(tmp_path_factory.mktemp(roles), **changes)


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, recipe: Path, stages: list[str]) -> dict[str, str]:
    out = recipe.parent / "undisturbed"
    runs.start(recipe, out)
    assert not runs.end()
    files = left_behind(out)
    assert all(f"{stage}/result.json" in files and f"{stage}/metrics.jsonl" in files for stage in stages)
    assert not any("checkpoints" in name for name in files)
    return files
