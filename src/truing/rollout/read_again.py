"""Local sampling in narrow numbers, whose log-probabilities are read again as learning reads them.

A step of decoding and a pass over whole rows round differently. In single precision nobody sees it; in bfloat16 the
ratio of new to old policy would start beside 1, and clipping with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core.batches import Sequences
from truing.models.roles import Role
from truing.models.scoring import forward_in_micro_batches, response_logprobs
from truing.rollout.engine import Completion, Drawing, Sampling
from truing.rollout.local import LocalEngine


def local_engine(role: Role, recipe: Recipe) -> "LocalEngine | ReadAgain":
    """Sampling in this process, whose log-probabilities are those that learning and references are held against."""
    local = LocalEngine(role)
    is_single = role.backend.precision.compute == torch.float32
    return local if is_single else ReadAgain(local, given(recipe.compute.score_tokens))


@dataclass(frozen=True)
class ReadAgain:
    """The local engine, and what the learner says of its draws: an `Engine`."""

    engine: LocalEngine
    score_tokens: int
    """In one forward of the learner"""

    def sync(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """They are the learner's own."""
        return self.engine.sync(weights)

    def begin(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> Drawing:
        """See `Engine`."""
        return Drawing(partial(self._generate, prompts, ids, sampling, seed, purpose))

    @torch.no_grad()
    def _generate(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> list[Completion]:
        role, drawn = self.engine.role, self.engine.generate(prompts, ids, sampling, seed, purpose)
        prefix_states = [one.prefix_states for one in drawn if one.prefix_states is not None]
        said = [one.tokens.tolist() for one in drawn]
        read = Sequences.collate(prompts, said, sampling.pad, prefix_states=prefix_states or None)
        (own,) = forward_in_micro_batches(
            role, read, self.score_tokens, lambda rows, _: (response_logprobs(role, rows, sampling.temperature),)
        )
        return [
            replace(one, logprobs=of_row[: len(tokens)], engine_logprobs=one.logprobs)
            for one, of_row, tokens in zip(drawn, own, said, strict=True)
        ]
