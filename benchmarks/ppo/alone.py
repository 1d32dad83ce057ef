"""One of our sides of the PPO benchmarks in this very process, for what is to be seen inside of it."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from harness.prompts import prompts
from ppo.ours import forced, prepared, warm_up
from ppo.sides import OURS, RANK

from truing.config.recipe import Recipe
from truing.models.layout import PpoRoles
from truing.stages.update import Update

PROMPT, NEW_TOKENS = 16, 32


@dataclass(frozen=True)
class Alone:
    """The updates of a layout."""

    recipe: Recipe
    roles: PpoRoles
    updates: Update
    lengths: list[int]

    @property
    def forced(self) -> AbstractContextManager[None]:
        """Inside, responses are of the benchmark's length."""
        return forced(self.lengths, self.roles)

    def warm_up(self) -> None:
        """The first update, a short one."""
        warm_up(self.updates).run(1, self.recipe.ppo.kl.beta)

    def run(self, number: int) -> dict[str, float]:
        """An update's metrics."""
        return self.updates.run(number, self.recipe.ppo.kl.beta)


def alone(layout: str, model: Path, reward: Path, episodes: int, threads: int, repeats: int = 1) -> Alone:
    """The updates of a layout, as `run.py` has them, on these models."""
    vocabulary = json.loads((model / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    lengths = [NEW_TOKENS] * episodes
    told = {
        "model": str(model),
        "reward": str(reward),
        "prompts": prompts(episodes, PROMPT, vocabulary),
        "lengths": lengths,
        "rank": RANK,
        "threads": threads,
        "repeats": repeats,
        "epochs": 2,
        "minibatches": 2,
    }
    recipe, roles, updates = prepared(told | OURS[layout])
    return Alone(recipe, roles, updates, lengths)
