"""A run's rows as tokens. (In the making: reads at each call.)"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from truing.config.recipe import Recipe
from truing.core.errors import DataError
from truing.core.rows import PairRows, TokenRows
from truing.data.encode import encode_demonstrations, encode_preferences, encode_prompts
from truing.data.prompts import PromptSet, different_prompts, prompt_set
from truing.data.rows import read_demonstrations, read_preferences
from truing.data.split import read_split

R = TypeVar("R")


@dataclass(frozen=True)
class Split(Generic[R]):
    train: R
    heldout: R
    report: str


@dataclass(frozen=True)
class Prepared:
    tokenizer: Any
    context: int

    def demonstrations(self, recipe: Recipe) -> Split[TokenRows]:
        data = recipe.data
        if data.demonstrations is None:
            raise DataError("no demonstrations.", hint="Set data.demonstrations.path.")
        parts = read_split(
            read_demonstrations, data.demonstrations, data.heldout_demonstrations, data, recipe.seed, "demonstrations"
        )
        encoded = [encode_demonstrations(self.tokenizer, part, data, self.context) for part in parts]
        train, heldout = (self._rows(rows, [row.completion for row in rows]) for rows, _ in encoded)
        return Split(train, heldout, encoded[0][1].sentence())

    def preferences(self, recipe: Recipe) -> Split[PairRows]:
        data = recipe.data
        if data.preferences is None:
            raise DataError("no preferences.", hint="Set data.preferences.path.")
        parts = read_split(
            read_preferences, data.preferences, data.heldout_preferences, data, recipe.seed, "preferences"
        )
        encoded = [encode_preferences(self.tokenizer, part, data, self.context) for part in parts]
        train, heldout = (
            PairRows(
                self._rows(rows, [r.chosen for r in rows]),
                self._rows(rows, [r.rejected for r in rows]),
                [r.margin or 0.0 for r in rows],
            )
            for rows, _ in encoded
        )
        return Split(train, heldout, encoded[0][1].sentence())

    def _rows(self, rows: Sequence[Any], responses: Sequence[Any]) -> TokenRows:
        return TokenRows([r.prompt for r in rows], responses, self.tokenizer.pad_token_id, [r.where for r in rows])

    def prompts(self, recipe: Recipe) -> PromptSet:
        unique = different_prompts(recipe.data)
        prompts, _ = encode_prompts(self.tokenizer, unique, recipe.data, recipe.rollout.max_new_tokens, self.context)
        return prompt_set(prompts, recipe)
