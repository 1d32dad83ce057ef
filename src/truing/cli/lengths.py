"""Whether rows fit into what the base can read, which only its tokenizer and its config can tell."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truing.data.encode import LengthReport, encode_demonstrations, encode_preferences, encode_prompts
from truing.errors import ModelError
from truing.recipe import Base, Recipe
from truing.records import Prompt

if TYPE_CHECKING:
    from truing.models.base import LoadedBase

LEARNT: dict[str, tuple[set[str], Callable[..., tuple[Sequence[Any], LengthReport]]]] = {
    "demonstrations": ({"sft"}, encode_demonstrations),
    "preferences": ({"reward", "dpo"}, encode_preferences),
}
"""The stages that learn from rows of a kind, and how these become tokens"""


class Lengths:
    """The lengths that a recipe's rows have as tokens of its base."""

    def __init__(self, recipe: Recipe) -> None:
        """ModelError where the base's config or tokenizer cannot be read, or has not been fetched from the Hub."""
        from truing.models.base import outline_base  # imports torch

        assert recipe.base is not None
        self._recipe = recipe
        self._base: LoadedBase = outline_base(_here(recipe.base), recipe.compute)

    def of_rows(self, name: str, rows: Sequence[Any]) -> tuple[str, ...]:
        """Which rows of `data.<name>` a stage will leave out, a sentence for each reason.

        Raises:
            DataError: a stage would refuse them.
            ModelError: the chat template does.
        """
        stages, encode = LEARNT.get(name.removeprefix("heldout_"), (set(), None))
        if encode is None or not rows or not stages & set(self._recipe.stages):
            return ()
        return encode(self._base.tokenizer, rows, self._recipe.data, self._base.context)[1].left_out

    def of_prompts(self, prompts: Sequence[Prompt]) -> tuple[int, tuple[str, ...]]:
        """(how many of the prompts leave room for a response, which others will be left out); raises the same."""
        recipe, base = self._recipe, self._base
        kept, report = encode_prompts(base.tokenizer, prompts, recipe.data, recipe.ppo.max_new_tokens, base.context)
        return len(kept), report.left_out


def _here(base: Base) -> Base:
    """The same with the directory that a Hub id was fetched to: nothing is fetched for looking at rows."""
    from transformers.utils.hub import cached_file

    if Path(base.path).is_dir():
        return base
    try:
        file = cached_file(base.path, base.gguf_file or "config.json", local_files_only=True)
    except OSError as error:
        raise ModelError("is not on this machine yet.", where=base.path, mend="`truing run` fetches it.") from error
    return base.model_copy(update={"path": str(Path(str(file)).parent)})
