"""Which prompts a policy answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from truing.config.recipe import Recipe
from truing.config.sections import Data, Source
from truing.core import rng
from truing.core.errors import DataError
from truing.core.records import Prompt, Text
from truing.data.columns import ALL_TAKEN, ID, Taken, as_json, parsed
from truing.data.encode import EncodedPrompt
from truing.data.remarks import Tally


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
    source = data.prompts or data.demonstrations or data.preferences or data.ratings
    if source is None:
        raise DataError("the recipe names no prompts to answer.", code="data/not-named", hint="Set data.prompts.path.")
    return source


def different(records: Iterable[Prompt], taken: Taken = ALL_TAKEN) -> tuple[list[Prompt], list[str]]:
    """Each prompt once for all rows that agree on the columns `taken`, and a remark on prompts that come again.

    With another of these a response may be scored otherwise, so it is another prompt; an `id` makes none.
    """
    kept = {(record.prompt, as_json(_telling(record, taken))): record for record in records}
    first, tally = dict[Text, Prompt](), Tally()
    for record in kept.values():
        before = first.setdefault(record.prompt, record)
        if before is not record:
            ours, theirs = _telling(record, taken), _telling(before, taken)
            names = ", ".join(f"`{name}`" for name in ours if ours[name] != theirs[name])
            tally.add("again", f"{record.where}: is the prompt of {before.where} with another {names}, and asked too")
    return list(kept.values()), tally.sentences()


def _telling(record: Prompt, taken: Taken) -> dict[str, object]:
    """The columns by which it is told from another row of the same prompt."""
    return {name: value for name, value in parsed(record.columns).items() if name != ID and name in taken}


def prompt_set(prompts: Sequence[EncodedPrompt], recipe: Recipe, report: str = "") -> PromptSet:
    """Some prompts held out of all, each with all its rows. DataError where none would be left to learn from."""
    held, texts = recipe.evaluation.prompts, list(dict.fromkeys(prompt.text for prompt in prompts))
    if held >= len(texts):
        only_one = len(texts) < 2
        there = "there is one prompt" if only_one else f"there are {len(texts)} different prompts"
        what = f"{there}, of which {held} {'is' if held == 1 else 'are'} to be held out: none is left to learn from."
        hint = "Give more prompts." if only_one else "Lower evaluation.prompts or give more prompts."
        raise DataError(what, code="data/too-few-prompts", where=prompt_source(recipe.data).path, hint=hint)
    order = rng.permutation(recipe.seed, "held-out prompts", count=len(texts))
    heldout = {texts[place] for place in order[:held]}
    train = [prompt for prompt in prompts if prompt.text not in heldout]
    return PromptSet(train, [prompt for prompt in prompts if prompt.text in heldout], report)
