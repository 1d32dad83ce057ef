"""A run that ends before PPO tells what to do, and leaves a report of what was measured."""

from pathlib import Path
from typing import Any

import tiny


def test_a_run_whose_reward_model_learnt_nothing_ends_with_2_and_a_report(truing: Any, tmp_path: Path) -> None:
    recipe = tiny.recipe_file(tmp_path, stages=["reward", "ppo"], on_unsound_reward="stop")
    said = truing("run", recipe, "--out", tmp_path / "run")
    assert said.code == 2
    assert "ppo was not begun" in said.err
    assert "--set on_unsound_reward=go_on" in said.err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "The reward model (reward) is not clear of chance" in page
    assert "So ppo was not begun." in page
