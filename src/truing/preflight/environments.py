"""A recipe's environments, rehearsed: whole episodes with its own completions as the policy's turns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from truing.config import environment_sources
from truing.config.recipe import Recipe
from truing.core.records import Sample, Tokens
from truing.data.chat import TextFormat
from truing.data.encode import EncodedPrompt
from truing.rewards.environment import EnvironmentProcess
from truing.rollout.conversations import converse
from truing.rollout.engine import Completion, Drawing, Sampling
from truing.rollout.environment import EpisodeStart


@dataclass(frozen=True)
class _OwnWords:
    """An `Engine` that answers with a recipe's own completions."""

    of_episode: Sequence[Tokens]

    def sync(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """It has none."""
        return {}

    def begin(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> Drawing:
        """See `Engine`."""
        said = [torch.tensor(self.of_episode[number]) for number in ids]
        return Drawing(lambda: [Completion(tokens, torch.zeros(len(tokens)), finished=True) for tokens in said])


def try_environments(recipe: Recipe, samples: Sequence[Sample], form: TextFormat) -> None:
    """Has every environment answer the recipe's own completions, in whole episodes.

    Raises:
        RewardError: one fails, named with its file and line, or says more than it may; where episodes in which it does
            are left out, in all of them.
        ModelError: the chat template cannot write what it says.
    """
    engine = _OwnWords([one.response_tokens for one in samples])
    prompts = [EncodedPrompt(one.prompt, one.prompt_tokens, one.columns) for one in samples]
    begun = [EpisodeStart(number, prompt, recipe.seed) for number, prompt in enumerate(prompts)]
    for source in environment_sources(recipe) if samples else ():
        environment = EnvironmentProcess.load(source, recipe)
        sampling = Sampling(
            max_new_tokens=recipe.rollout.max_new_tokens,
            temperature=recipe.rollout.temperature,
            ends=form.endings.tokens,
            pad=0,
            rows=1,
        )
        played = converse(engine, environment, begun, form, sampling, recipe.seed, "rehearsal")
        if all(one.episode is not None and math.isnan(one.episode.reward) for one in played):
            environment.drops = False  # nothing would be left to learn from: it is told why
            converse(engine, environment, begun, form, sampling, recipe.seed, "rehearsal")
        environment.end()
