"""What a policy said, and what an update learns from it: batches of responses with what was measured on them.

Per-token quantities of a response are (B, R), aligned to the response: see `truing.core.batches`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from truing.core.batches import Sequences
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

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def count(self) -> int:
        return self.sequences.count

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
        )

    def to(self, device: torch.device) -> Self:
        return (
            self
            if self.advantages.device == device
            else replace(self, **{name: value.to(device) for name, value in vars(self).items() if value is not None})
        )
