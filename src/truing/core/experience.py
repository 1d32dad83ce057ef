"""What a policy said, and what an update learns from it: batches of responses with what was measured on them.

Per-token quantities of a response are (B, R), aligned to the response: see `truing.core.batches`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from truing.core.batches import Sequences
from truing.core.records import Episode
from truing.core.transfer import integers


@dataclass(frozen=True)
class LocalStates:
    """What a policy that samples in this process leaves behind beside its tokens."""

    hidden: Tensor
    """(B, R, D) its last hidden state before each response token: its full distribution, kept small"""

    def rows(self, index: Sequence[int], longest: int) -> Self:
        return type(self)(self.hidden[integers(index, self.hidden.device), :longest])


@dataclass(frozen=True)
class Rollout:
    """What the policy said, and how likely it thought that was when it said it."""

    sequences: Sequences
    logprobs: Tensor
    """(B, R) log π(token) at the sampling temperature, nats, as the learner computes it before it learns from them"""
    finished: Tensor
    """(B,) bool: the response closed with eos"""
    groups: Tensor
    """(B,) int64: responses to the same asking of a prompt have the same number"""
    states: LocalStates | None = None
    """None from an engine that keeps none"""
    engine_logprobs: Tensor | None = None
    """(B, R) the same as the engine that drew them gave them, where it computes the policy otherwise"""
    drawn_logprobs: Tensor | None = None
    """(B, R) the same by the learner with the weights that drew, where these may be older than those that learn"""
    episodes: Sequence[Episode] | None = None
    """B of them, where an environment answered the policy"""

    def rows(self, index: Sequence[int]) -> Self:
        """These responses, trimmed to the longest."""
        sequences = self.sequences.rows(index)
        longest = int(sequences.response_lengths.max())
        chosen = integers(index, self.logprobs.device)
        states = None if self.states is None else self.states.rows(index, longest)

        def part(whole: Tensor | None) -> Tensor | None:
            return None if whole is None else whole[chosen, :longest]

        return type(self)(
            sequences,
            self.logprobs[chosen, :longest],
            self.finished[chosen],
            self.groups[chosen],
            states,
            part(self.engine_logprobs),
            part(self.drawn_logprobs),
            None if self.episodes is None else [self.episodes[row] for row in index],
        )

    def kl(self, ref_logprobs: Tensor) -> Tensor:
        """(B,) k1 estimate of KL(π‖π_ref), nats a sequence, from the reference's (B, R) log-probabilities."""
        return ((self.logprobs - ref_logprobs) * self.sequences.response_mask).sum(1)


@dataclass(frozen=True)
class Experience:
    """A scored rollout: everything an update learns from."""

    sequences: Sequences
    old_logprobs: Tensor
    """(B, R) of the policy that sampled, nats"""
    advantages: Tensor
    """(B, R)"""
    groups: Tensor
    """(B,) int64: which responses answer the same asking of a prompt"""
    old_values: Tensor | None = None
    """(B, R) of the critic before the update, where there is one"""
    returns: Tensor | None = None
    """(B, R) what the critic is to predict"""
    weights: Tensor | None = None
    """(B, R) by how much each token counts in the policy's loss, where another computation of the policy drew it"""
    ref_logprobs: Tensor | None = None
    """(B, R) of the reference, where the loss itself has a penalty"""
    kl_price: Tensor | None = None
    """(B,) what a nat costs there"""
    learnt: Tensor | None = None
    """(B,) bool: which responses are learnt from; None for all"""
    by_response: bool = False
    """Whether the policy's loss is a mean over responses; else over tokens"""

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def count(self) -> int:
        """Of what the loss is a mean over."""
        return len(self) if self.by_response else self.sequences.count

    @property
    def token_counts(self) -> list[int]:
        return self.sequences.token_counts

    @property
    def names(self) -> Sequence[str]:
        return self.sequences.names

    def rows(self, index: Sequence[int]) -> Self:
        sequences = self.sequences.rows(index)
        longest = int(sequences.response_lengths.max())
        chosen = integers(index, self.old_logprobs.device)

        def part(whole: Tensor | None) -> Tensor | None:
            return None if whole is None else whole[chosen, :longest]

        return replace(
            self,
            sequences=sequences,
            old_logprobs=self.old_logprobs[chosen, :longest],
            advantages=self.advantages[chosen, :longest],
            groups=self.groups[chosen],
            old_values=part(self.old_values),
            returns=part(self.returns),
            weights=part(self.weights),
            ref_logprobs=part(self.ref_logprobs),
            kl_price=None if self.kl_price is None else self.kl_price[chosen],
            learnt=None if self.learnt is None else self.learnt[chosen],
        )

    def kept(self, least: int) -> Self:
        """What is learnt from; all of it where less than `least` would be left."""
        if self.learnt is None:
            return self
        index = self.learnt.nonzero()[:, 0].tolist()
        return self if len(index) < least else self.rows(index)

    def to(self, device: torch.device) -> Self:
        if self.advantages.device == device:
            return self
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor | Sequences)
        }
        return replace(self, **moved)
