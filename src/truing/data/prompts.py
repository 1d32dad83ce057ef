"""Which prompts a policy answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from truing.config.recipe import Recipe
from truing.config.sections import Data, Source
from truing.core import rng
from truing.core.errors import DataError
from truing.core.records import Prompt
from truing.data.encode import EncodedPrompt
from truing.data.rows import read_prompts


def prompt_source(data: Data) -> Source:
    """The file of prompts, or the first file whose rows have one."""
    source = data.prompts or data.demonstrations or data.preferences
    if source is None:
        raise DataError("the recipe names no prompts to answer.", hint="Set data.prompts.path.")
    return source


def different_prompts(data: Data) -> list[Prompt]:
    """The prompts of the source, each once."""
    records = read_prompts(prompt_source(data), data.transcripts)
    return list({record.prompt: record for record in records}.values())


def refuse_too_few(count: int, recipe: Recipe) -> None:
    """DataError unless of so many different prompts some are left once `evaluation.prompts` are held out."""
    held = recipe.evaluation.prompts
    if held >= count:
        raise DataError(
            f"there are {count} different prompts, of which {held} are to be held out: none is left to learn from.",
            where=prompt_source(recipe.data).path,
            hint="Lower evaluation.prompts or give more prompts.",
        )


@dataclass(frozen=True)
class PromptSet:
    """Prompts to learn from, and prompts that learning never sees."""

    train: list[EncodedPrompt]
    heldout: list[EncodedPrompt]

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
            raise DataError("every prompt is in a pair that is learnt from.", hint="Give other prompts: data.prompts.")
        return PromptSet(self.train, unseen[: len(self.heldout)])


def prompt_set(prompts: Sequence[EncodedPrompt], recipe: Recipe) -> PromptSet:
    """Some prompts held out of all. DataError where none would be left to learn from."""
    refuse_too_few(len(prompts), recipe)
    held = recipe.evaluation.prompts
    order = rng.permutation(recipe.seed, "held-out prompts", count=len(prompts))
    return PromptSet([prompts[i] for i in sorted(order[held:])], [prompts[i] for i in sorted(order[:held])])
