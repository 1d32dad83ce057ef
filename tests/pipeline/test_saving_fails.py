"""What a stage has learnt outlives a save that fails: the same command only saves again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import tiny
from faults.killed import left_behind

from truing.config.recipe import Recipe
from truing.core.errors import RunError
from truing.pipeline.execute import run_pipeline
from truing.runs.files import complete_directory
from truing.runs.progress import SilentProgress
from truing.training import job as job_module
from truing.training.learner import Learner

STAGES = ["sft", "reward", "ppo", "dpo"]


def _attempts(recipe: Recipe, root: Path) -> int:
    """Runs it until it ends; how often it failed."""
    for failed in range(20):
        with suppress(RunError):
            run_pipeline(recipe, root, SilentProgress())
            return failed
    pytest.fail("it never ends")


@pytest.mark.parametrize("roles", ["shared", "separate"])
def test_a_save_that_fails_costs_no_step(roles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(tmp_path / "recipe", roles=roles, stages=STAGES)
    steps: list[int] = []
    failed: set[Path] = set()
    right = Learner.step

    def counted(self: Learner) -> float:
        steps.append(1)
        return right(self)

    @contextmanager
    def fails_once(final: Path) -> Iterator[Path]:
        if final not in failed:
            failed.add(final)
            raise RunError("no space left.", where=str(final))
        with complete_directory(final) as partial:
            yield partial

    monkeypatch.setattr(Learner, "step", counted)
    assert _attempts(recipe, tmp_path / "whole") == 0
    needed = len(steps)
    monkeypatch.setattr(job_module, "complete_directory", fails_once)
    assert _attempts(recipe, tmp_path / "failing") >= len(STAGES)
    assert len(steps) == 2 * needed
    assert left_behind(tmp_path / "failing") == left_behind(tmp_path / "whole")
