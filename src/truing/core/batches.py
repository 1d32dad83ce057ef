"""Tensors that travel between the sampler, the scorers and the learners.

Shape letters: B sequences, P prompt tokens, R response tokens, T = P + R (each row's own, then right-padded).
Per-token quantities of a response are kept as (B, R), aligned to the response and not to the whole sequence, so a
loss never sees a prompt token or needs to shift by one.

Every batch can be split: `len(batch)` rows, `token_counts` for planning, `rows(index)` for a part trimmed to its own
longest row, and `count`, the number of entries its loss is averaged over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Batch(Protocol):
    """What the training loop needs to know of a batch."""

    def __len__(self) -> int: ...

    @property
    def count(self) -> int:
        """Entries (tokens, or pairs) that the loss averages over."""

    @property
    def token_counts(self) -> list[int]:
        """Tokens each row costs to process."""

    def rows(self, index: Sequence[int]) -> Self:
        """These rows, trimmed to their longest."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""


@dataclass(frozen=True)
class Sequences:
    """B prompts, each followed by its response, right-padded."""

    tokens: Tensor
    """(B, T) int64"""
    prompt_lengths: Tensor
    """(B,) int64, at least 1"""
    response_lengths: Tensor
    """(B,) int64, at least 1"""
    prefix_states: Tensor | None = None
    """(B, T − 1, D) what the layers below every adapter made of all tokens but the last; None where nobody kept it"""

    @classmethod
    def collate(
        cls,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        pad: int,
        prefix_states: Sequence[Tensor] | None = None,
    ) -> Self:
        """Joins each prompt to its response and pads on the right; `prefix_states` are (T − 1, D), one a row."""
        joined = [torch.tensor([*p, *r], dtype=torch.long) for p, r in zip(prompts, responses, strict=True)]
        return cls(
            tokens=pad_sequence(joined, batch_first=True, padding_value=pad),
            prompt_lengths=torch.tensor([len(p) for p in prompts]),
            response_lengths=torch.tensor([len(r) for r in responses]),
            prefix_states=None if prefix_states is None else pad_sequence(list(prefix_states), batch_first=True),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def prompts(self) -> list[list[int]]:
        """The tokens of every prompt."""
        return [row[:length] for row, length in zip(self.tokens.tolist(), self.prompt_lengths.tolist(), strict=True)]

    @property
    def responses(self) -> list[list[int]]:
        """The tokens of every response."""
        rows, lengths = self.response_tokens.tolist(), self.response_lengths.tolist()
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of prompt and response together."""
        return self.prompt_lengths + self.response_lengths

    @property
    def token_counts(self) -> list[int]:
        return [int(length) for length in self.lengths]

    @property
    def count(self) -> int:
        """Response tokens."""
        return int(self.response_lengths.sum())

    @property
    def attention_mask(self) -> Tensor:
        """(B, T) 1 on prompt and response, 0 on padding."""
        return (_steps(self.tokens.shape[1], self.tokens) < self.lengths[:, None]).long()

    @property
    def response_mask(self) -> Tensor:
        """(B, R) True on response tokens."""
        return _steps(int(self.response_lengths.max()), self.tokens) < self.response_lengths[:, None]

    @property
    def response_index(self) -> Tensor:
        """(B, R) where in T each response token stands; entries off the mask stay inside the row."""
        steps = _steps(int(self.response_lengths.max()), self.tokens)
        return (self.prompt_lengths[:, None] + steps).clamp(max=self.tokens.shape[1] - 1)

    @property
    def response_tokens(self) -> Tensor:
        """(B, R) the response's tokens; entries off the mask are arbitrary."""
        return self.tokens.gather(1, self.response_index)

    def rows(self, index: Sequence[int]) -> Self:
        chosen = torch.as_tensor(index, device=self.tokens.device)
        longest = int(self.lengths[chosen].max())
        return type(self)(
            self.tokens[chosen, :longest],
            self.prompt_lengths[chosen],
            self.response_lengths[chosen],
            None if self.prefix_states is None else self.prefix_states[chosen, : longest - 1],
        )

    def to(self, device: torch.device) -> Self:
        return type(self)(
            self.tokens.to(device),
            self.prompt_lengths.to(device),
            self.response_lengths.to(device),
            None if self.prefix_states is None else self.prefix_states.to(device),
        )


@dataclass(frozen=True)
class PairBatch:
    """B prompts with the response that was preferred and the one that was not."""

    chosen: Sequences
    rejected: Sequences
    margin: Tensor
    """(B,) float; 0 where the data says nothing"""

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def count(self) -> int:
        """Pairs."""
        return len(self)

    @property
    def token_counts(self) -> list[int]:
        return [c + r for c, r in zip(self.chosen.token_counts, self.rejected.token_counts, strict=True)]

    def rows(self, index: Sequence[int]) -> Self:
        return type(self)(self.chosen.rows(index), self.rejected.rows(index), self.margin[torch.as_tensor(index)])

    def to(self, device: torch.device) -> Self:
        return type(self)(self.chosen.to(device), self.rejected.to(device), self.margin.to(device))


@dataclass(frozen=True)
class ReferencedPairs:
    """Pairs, and how likely the reference thinks their responses: measured once, kept for every epoch."""

    pairs: PairBatch
    ref_chosen: Tensor
    """(B,) log π_ref of the chosen response, nats"""
    ref_rejected: Tensor
    """(B,) the same of the rejected one"""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def count(self) -> int:
        return self.pairs.count

    @property
    def token_counts(self) -> list[int]:
        return self.pairs.token_counts

    def rows(self, index: Sequence[int]) -> Self:
        chosen = torch.as_tensor(index, device=self.ref_chosen.device)
        return type(self)(self.pairs.rows(index), self.ref_chosen[chosen], self.ref_rejected[chosen])

    def to(self, device: torch.device) -> Self:
        return type(self)(self.pairs.to(device), self.ref_chosen.to(device), self.ref_rejected.to(device))


@dataclass(frozen=True)
class Rollout:
    """What the policy said, and how likely it thought that was when it said it."""

    sequences: Sequences
    logprobs: Tensor
    """(B, R) log π(token) at the sampling temperature, nats, at the moment of sampling"""
    hidden: Tensor
    """(B, R, D) the policy's last hidden state before each response token: its full distribution, kept small"""
    finished: Tensor
    """(B,) bool: the response closed with eos"""

    def rows(self, index: Sequence[int]) -> Self:
        """These responses, trimmed to the longest."""
        sequences = self.sequences.rows(index)
        longest = int(sequences.response_lengths.max())
        chosen = torch.as_tensor(index, device=self.logprobs.device)
        parts = (self.logprobs[chosen, :longest], self.hidden[chosen, :longest], self.finished[chosen])
        return type(self)(sequences, *parts)

    def kl(self, ref_logprobs: Tensor) -> Tensor:
        """(B,) k1 estimate of KL(π‖π_ref), nats a sequence, from the reference's (B, R) log-probabilities."""
        return ((self.logprobs - ref_logprobs) * self.sequences.response_mask).sum(1)


@dataclass(frozen=True)
class Experience:
    """A scored rollout: everything a PPO update learns from."""

    sequences: Sequences
    old_logprobs: Tensor
    """(B, R) of the policy that sampled, nats"""
    old_values: Tensor
    """(B, R) of the critic before the update"""
    advantages: Tensor
    """(B, R) whitened over the whole batch"""
    returns: Tensor
    """(B, R)"""

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def count(self) -> int:
        return self.sequences.count

    @property
    def token_counts(self) -> list[int]:
        return self.sequences.token_counts

    @property
    def _per_token(self) -> tuple[Tensor, ...]:
        return self.old_logprobs, self.old_values, self.advantages, self.returns

    def rows(self, index: Sequence[int]) -> Self:
        sequences = self.sequences.rows(index)
        longest = int(sequences.response_lengths.max())
        chosen = torch.as_tensor(index, device=self.old_logprobs.device)
        return type(self)(sequences, *(part[chosen, :longest] for part in self._per_token))

    def to(self, device: torch.device) -> Self:
        return type(self)(self.sequences.to(device), *(part.to(device) for part in self._per_token))


def _steps(length: int, like: Tensor) -> Tensor:
    return torch.arange(length, device=like.device)[None, :]
