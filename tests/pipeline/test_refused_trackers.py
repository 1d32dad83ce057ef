"""A run that is refused for its tracker has taken no directory, so that the recipe without it can have it."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import tiny

from truing.core.errors import InputError
from truing.pipeline.execute import run_pipeline
from truing.runs.progress import SilentProgress


def test_a_missing_package_is_refused_before_a_directory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"], track=["wandb"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError) as refused:
        run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert (refused.value.code, refused.value.exit_code) == ("run/no-tracker", 2)
    assert not (tmp_path / "run").exists()


def test_one_that_does_not_start_gives_the_directory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path, stages=["sft"], track=["wandb"])
    wandb = ModuleType("wandb")

    def init(**settings: str) -> None:
        (Path(settings["dir"]) / "wandb").mkdir()
        raise ValueError("no API key")

    monkeypatch.setattr(wandb, "init", init, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(InputError) as refused:
        run_pipeline(recipe, tmp_path / "run", SilentProgress())
    assert refused.value.code == "run/tracker-fails"
    assert not (tmp_path / "run").exists()
    run_pipeline(recipe.model_copy(update={"track": []}), tmp_path / "run", SilentProgress())
