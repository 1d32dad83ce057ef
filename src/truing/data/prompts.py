"""Which prompts a policy answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from truing.config.recipe import Recipe
from truing.config.sections import Data, Source
from truing.core import rng
from truing.core.errors import DataError
from truing.data.encode import EncodedPrompt


@dataclass(frozen=True)
class PromptSet:
    """Prompts to learn from, and prompts that learning never sees."""

    train: list[EncodedPrompt]
    heldout: list[EncodedPrompt]
    report: str = ""
    """What became of prompts that were too long, in words"""

    def of_episodes(self, episodes: Sequence[int], seed: int) -> list[EncodedPrompt]:
        """The training prompt of each episode of the run: pass after pass over all of them, each in its own order."""
        passes = {episode // len(self.train) for episode in episodes}
        orders = {one: rng.permutation(seed, "prompts", one, count=len(self.train)) for one in passes}
        return [self.train[orders[episode // len(self.train)][episode % len(self.train)]] for episode in episodes]

    def without(self, seen: Iterable[Sequence[int]]) -> "PromptSet":
        """The same with as many held-out prompts as there are that were not `seen`, given as tokens."""
        known = {tuple(prompt) for prompt in seen}
        unseen = [prompt for prompt in [*self.heldout, *self.train] if prompt.tokens not in known]
        if not unseen:
            hint = "Give other prompts: data.prompts."
            raise DataError("every prompt is in a pair that is learnt from.", code="data/no-unseen-prompt", hint=hint)
        return replace(self, heldout=unseen[: len(self.heldout)])


def prompt_source(data: Data) -> Source:
    """The file of prompts, or the first file whose rows have one."""
    source = data.prompts or data.demonstrations or data.preferences
    if source is None:
        raise DataError("the recipe names no prompts to answer.", code="data/not-named", hint="Set data.prompts.path.")
    return source


def prompt_set(prompts: Sequence[EncodedPrompt], recipe: Recipe, report: str = "") -> PromptSet:
    """Some prompts held out of all. DataError where none would be left to learn from."""
    held = recipe.evaluation.prompts
    if held >= len(prompts):
        raise DataError(
            f"there are {len(prompts)} different prompts, of which {held} are to be held out: none is left to learn "
            "from.",
            code="data/too-few-prompts",
            where=prompt_source(recipe.data).path,
            hint="Lower evaluation.prompts or give more prompts.",
        )
    order = rng.permutation(recipe.seed, "held-out prompts", count=len(prompts))
    return PromptSet([prompts[i] for i in sorted(order[held:])], [prompts[i] for i in sorted(order[:held])], report)
