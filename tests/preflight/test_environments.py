"""Environments are rehearsed before a run: one that could never give a score is told with its line."""

from pathlib import Path

import pytest
import tiny

from truing.core.errors import RewardError
from truing.preflight.environments import try_environments
from truing.preflight.functions import samples_of


def rehearsed(place: Path, step: str, samples: int = 3) -> None:
    begins = "class Game:\n    def reset(self, prompt, seed): ...\n"
    (place / "game.py").write_text(f"{begins}    def step(self, response): {step}\n")
    source = {"kind": "environment", "path": f"{place}/game.py:Game", "turns": 2, "observation_tokens": 4}
    recipe = tiny.recipe(place, **{"rewards.sources": [source], "rewards.on_bad_score": "drop"})
    form = tiny.load(recipe).text_format(recipe.data)
    try_environments(recipe, samples_of(tiny.prepared(recipe), recipe, form)[:samples], form)


def test_one_that_fails_in_every_episode_is_told_although_such_are_left_out(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="no attribute 'nope'"):
        rehearsed(tmp_path, "return self.nope")


def test_one_that_fails_in_some_is_not(tmp_path: Path) -> None:
    rehearsed(tmp_path, "return None, 1 / ('aha' in response), True")


def test_where_no_policy_is_asked_anything_nothing_is_rehearsed(tmp_path: Path) -> None:
    rehearsed(tmp_path, "return self.nope", samples=0)
