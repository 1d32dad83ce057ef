"""`truing.run` does what the command does, and gives the run."""

from pathlib import Path

import pytest
import tiny

import truing
from truing.core.errors import RecipeError


def test_it_runs_goes_on_forks_and_refuses_as_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny.recipe_file(tmp_path, stages=["sft", "dpo"])
    run = truing.run(recipe, out=tmp_path / "run", changes={"sft.epochs": 1, "evaluation.judges": {}})
    assert run.stages == {"sft": "done", "dpo": "done"}
    assert (tmp_path / "run" / "report.html").exists()
    assert "sft: " in capsys.readouterr().out
    again = truing.run(str(recipe), out=str(tmp_path / "run"), changes={"sft.epochs": 1})
    assert again.rows == run.rows
    assert "nothing left to run" in capsys.readouterr().out
    changes = {"sft.epochs": 1, "dpo.beta": 0.5}
    fork = truing.run(recipe, out=tmp_path / "run", changes=changes, fork_to=tmp_path / "fork")
    assert fork.files.lineage.changes == ["dpo.beta: 0.1 → 0.5"]
    with pytest.raises(RecipeError, check=lambda error: error.field == "dpo.gamma"):
        truing.run(recipe, out=tmp_path / "other", changes={"dpo.gamma": 1})
