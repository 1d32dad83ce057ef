"""How long a recipe's rows are: its own rows, encoded, in the recipe's own order."""

from dataclasses import dataclass

from truing.config.recipe import Recipe
from truing.core.rows import PairRows, TokenRows
from truing.data.datasets import datasets_of_stages
from truing.data.prepared import prepare
from truing.data.prompts import PromptSet
from truing.kernels.packed_rows import packs_rows
from truing.models.load import LoadedBase, device_of

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
    rows = prepare(recipe, base.tokenizer, base.context)
    used = datasets_of_stages(recipe)
    return Lengths(
        _demonstrations(rows.demonstrations(recipe).train) if "demonstrations" in used else [],
        _preferences(rows.preferences(recipe).train) if "preferences" in used else [],
        _prompts(rows.prompts(recipe), recipe) if "prompts" in used else [],
        padded=not packs_rows(base.model, device_of(recipe.compute)),
    )


def _demonstrations(rows: TokenRows) -> list[Row]:
    return [((len(prompt), len(response)),) for prompt, response in zip(rows.prompts, rows.responses, strict=True)]


def _preferences(rows: PairRows) -> list[Row]:
    return [
        chosen + rejected for chosen, rejected in zip(*map(_demonstrations, (rows.chosen, rows.rejected)), strict=True)
    ]


def _prompts(prompts: PromptSet, recipe: Recipe) -> list[int]:
    episodes = min(recipe.ppo.updates, STEPS_PLANNED) * recipe.ppo.episodes
    return [len(prompt.tokens) for prompt in prompts.of_episodes(range(episodes), recipe.seed)]
