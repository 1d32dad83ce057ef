"""How long a recipe's rows are: its own rows, encoded, in the recipe's own order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from truing.config.recipe import Recipe
from truing.core.errors import DataError
from truing.data.learnt import DEMONSTRATIONS, PREFERENCES, Learnt
from truing.data.split import read_split
from truing.kernels.packed_rows import hidden_packed
from truing.models.load import LoadedBase
from truing.rollout.episodes import load_prompts
from truing.runs.progress import SilentProgress

STEPS_PLANNED = 400
"""Steps of a stage whose batches are planned; more of them look the same"""

Row = tuple[tuple[int, int], ...]
"""(prompt, response) tokens of each sequence in a row: one, or the two of a pair"""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a recipe's rows, whatever is then done with them."""

    demonstrations: list[Row]
    preferences: list[Row]
    prompts: list[int]
    """In the order in which PPO answers them"""
    padded: bool = True
    """Whether rows that are read together cost as much as the longest"""

    @property
    def responses(self) -> list[int]:
        """Tokens of the responses that the policy has been shown; none where it has been shown none."""
        return [response for row in self.demonstrations or self.preferences for _, response in row]


def read_lengths(recipe: Recipe, base: LoadedBase) -> Lengths:
    """Reads and encodes the rows that the recipe's stages learn from.

    Raises:
        DataError: they cannot be used.
    """
    stages = set(recipe.stages)
    return Lengths(
        _demonstrations(recipe, base) if "sft" in stages else [],
        _preferences(recipe, base) if stages & {"reward", "dpo"} else [],
        _prompts(recipe, base) if stages != {"sft"} else [],
        padded=base.backend.hidden is not hidden_packed,
    )


def _demonstrations(recipe: Recipe, base: LoadedBase) -> list[Row]:
    rows = _encoded(recipe, base, DEMONSTRATIONS)
    return [((len(row.prompt), len(row.completion)),) for row in rows]


def _preferences(recipe: Recipe, base: LoadedBase) -> list[Row]:
    rows = _encoded(recipe, base, PREFERENCES)
    return [tuple((len(row.prompt), len(side)) for side in (row.chosen, row.rejected)) for row in rows]


def _encoded(recipe: Recipe, base: LoadedBase, kind: Learnt) -> Sequence[Any]:
    """The rows of a kind that are learnt from, as tokens."""
    data = recipe.data
    source, heldout = kind.sources(data)
    if source is None:
        what = f"the recipe's stages learn from {kind.name}, and it has none."
        raise DataError(what, hint=f"Set data.{kind.name}.path.")
    train, _ = read_split(kind.read, source, heldout, data, recipe.seed, kind.name)
    return kind.encode(base.tokenizer, train, data, base.context)[0]


def _prompts(recipe: Recipe, base: LoadedBase) -> list[int]:
    prompts = load_prompts(recipe, base, SilentProgress())
    episodes = min(recipe.ppo.updates, STEPS_PLANNED) * recipe.ppo.episodes
    return [len(prompt.tokens) for prompt in prompts.of_episodes(range(episodes), recipe.seed)]
