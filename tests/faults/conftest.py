"""Runs that are disturbed, and the one that is not, which they are compared with."""

from pathlib import Path

import pytest
import tiny
from faults.killed import Runs, left_behind


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs()


@pytest.fixture(scope="module", params=["shared", "separate"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the module's own CHANGES."""
    place = tmp_path_factory.mktemp(request.param)
    return tiny.recipe_file(place, roles=request.param, **request.module.CHANGES)


@pytest.fixture(scope="module")
def undisturbed(request: pytest.FixtureRequest, runs: Runs, recipe: Path) -> dict[str, str]:
    out = recipe.parent / "undisturbed"
    runs.start(recipe, out)
    assert not runs.end()
    files = left_behind(out)
    stages = request.module.CHANGES["stages"]
    assert all(f"{stage}/result.json" in files and f"{stage}/metrics.jsonl" in files for stage in stages)
    assert not any("checkpoints" in name for name in files)
    return files
