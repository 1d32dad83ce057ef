"""Tensors that travel between the sampler, the scorers and the learners.

Shape letters: B sequences, P prompt tokens, R response tokens, T = P + R (each row's own, then right-padded).
Per-token quantities of a response are kept as (B, R), aligned to the response and not to the whole sequence, so a
loss never sees a prompt token or needs to shift by one.

Every batch can be split: `len(batch)` rows, `token_counts` for planning, `rows(index)` for a part trimmed to its own
longest row, `names` of its rows for errors, and `count`, the number of entries its loss is averaged over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from truing.core.transfer import integers, to_device

Micro = TypeVar("Micro", covariant=True)
"""What a part of a batch is on its device"""


class Batch(Protocol[Micro]):
    """What the learner needs to know of a batch."""

    def __len__(self) -> int: ...

    @property
    def count(self) -> int:
        """Entries (tokens, or pairs) that the loss averages over."""

    @property
    def token_counts(self) -> list[int]:
        """Tokens each row costs to process."""

    @property
    def names(self) -> Sequence[str]:
        """Which row each one is, for a person who looks for it; empty where nobody knows."""

    def rows(self, index: Sequence[int]) -> Self:
        """These rows, trimmed to their longest."""

    def to(self, device: torch.device) -> Micro:
        """What a loss is computed from, on a device."""


@dataclass(frozen=True)
class Sequences:
    """B prompts, each followed by its response, right-padded."""

    tokens: Tensor
    """(B, T) int64"""
    prompt_lengths: Tensor
    """(B,) int64, at least 1; on the host, wherever the tokens are, so that nothing waits for a device to be planned"""
    response_lengths: Tensor
    """(B,) int64, at least 1; on the host"""
    names: Sequence[str] = ()
    """Which row each one is, for errors"""
    prefix_states: Tensor | None = None
    """(B, T − 1, D) what the layers below every adapter made of all tokens but the last; None where nobody kept it"""
    drawn: Tensor | None = None
    """(B, R) bool: response tokens that the policy drew, on the host; None where it drew all, as without environment"""

    @classmethod
    def collate(
        cls,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        pad: int,
        names: Sequence[str] = (),
        prefix_states: Sequence[Tensor] | None = None,
        drawn: Sequence[Tensor] | None = None,
    ) -> Self:
        """Joins each prompt to its response and pads on the right.

        One a row: `prefix_states` (T − 1, D); `drawn` (R,) bool.
        """
        joined = [[*p, *r] for p, r in zip(prompts, responses, strict=True)]
        longest = max(map(len, joined))
        return cls(
            tokens=torch.tensor([row + [pad] * (longest - len(row)) for row in joined]),
            prompt_lengths=torch.tensor([len(p) for p in prompts]),
            response_lengths=torch.tensor([len(r) for r in responses]),
            names=names,
            prefix_states=None if prefix_states is None else pad_sequence(list(prefix_states), batch_first=True),
            drawn=None if drawn is None else pad_sequence(list(drawn), batch_first=True),
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
    def said(self) -> list[list[int]]:
        """The tokens of every response that the policy drew."""
        if self.drawn is None:
            return self.responses
        rows = zip(self.responses, self.drawn.tolist(), strict=True)
        return [[token for token, own in zip(*row, strict=False) if own] for row in rows]

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of prompt and response together; on the host."""
        return self.prompt_lengths + self.response_lengths

    @cached_property
    def _lengths_there(self) -> tuple[Tensor, Tensor]:
        """(B,) prompt and response lengths, where the tokens are."""
        prompt_lengths, response_lengths = to_device(
            torch.stack([self.prompt_lengths, self.response_lengths]), self.tokens.device
        )
        return prompt_lengths, response_lengths

    @property
    def token_counts(self) -> list[int]:
        return [int(length) for length in self.lengths.tolist()]

    @property
    def count(self) -> int:
        """Response tokens that the policy drew."""
        return int(self.drawn_lengths.sum())

    @property
    def drawn_lengths(self) -> Tensor:
        """(B,) response tokens that the policy drew; on the host."""
        return self.response_lengths if self.drawn is None else self.drawn.sum(1)

    @property
    def attention_mask(self) -> Tensor:
        """(B, T) 1 on prompt and response, 0 on padding."""
        asked, said = self._lengths_there
        return (_steps(self.tokens.shape[1], self.tokens) < (asked + said)[:, None]).long()

    @property
    def response_mask(self) -> Tensor:
        """(B, R) True on response tokens that the policy drew."""
        if self.drawn is not None:
            return self._drawn_there
        return _steps(int(self.response_lengths.max()), self.tokens) < self._lengths_there[1][:, None]

    @cached_property
    def _drawn_there(self) -> Tensor:
        assert self.drawn is not None
        return to_device(self.drawn, self.tokens.device)

    @cached_property
    def response_places(self) -> Tensor:
        """(N,) places of `response_mask`, flat, where it is True."""
        mask = self.drawn
        if mask is None:
            mask = torch.arange(int(self.response_lengths.max())) < self.response_lengths[:, None]
        return to_device(mask.flatten().nonzero()[:, 0], self.tokens.device)

    @property
    def response_index(self) -> Tensor:
        """(B, R) where in T each response token stands; entries off the mask stay inside the row."""
        steps = _steps(int(self.response_lengths.max()), self.tokens)
        return (self._lengths_there[0][:, None] + steps).clamp(max=self.tokens.shape[1] - 1)

    @property
    def response_tokens(self) -> Tensor:
        """(B, R) the response's tokens; entries off the mask are arbitrary."""
        return self.tokens.gather(1, self.response_index)

    def rows(self, index: Sequence[int]) -> Self:
        asked, said = self.prompt_lengths[list(index)], self.response_lengths[list(index)]
        chosen, longest = integers(index, self.tokens.device), int((asked + said).max())
        return type(self)(
            self.tokens[chosen, :longest],
            asked,
            said,
            [self.names[row] for row in index] if self.names else (),
            None if self.prefix_states is None else self.prefix_states[chosen, : longest - 1],
            None if self.drawn is None else self.drawn[list(index), : int(said.max())],
        )

    def to(self, device: torch.device) -> Self:
        return type(self)(
            to_device(self.tokens, device),
            self.prompt_lengths,
            self.response_lengths,
            self.names,
            None if self.prefix_states is None else self.prefix_states.to(device),
            self.drawn,
        )


@dataclass(frozen=True)
class PairBatch:
    """B prompts with the response that was preferred and the one that was not."""

    chosen: Sequences
    rejected: Sequences
    margin: Tensor
    """(B,) float; 0 where the data says nothing"""
    weights: Tensor | None = None
    """(B, k) float: how often each counts for each of k that learn from them; None where all count once"""
    share: Tensor | None = None
    """(B,) float: of people, how many preferred the chosen response; None where nobody says, which is 1"""

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def count(self) -> int:
        """Pairs."""
        return len(self)

    def rows(self, index: Sequence[int]) -> Self:
        chosen = torch.as_tensor(index)
        weights = None if self.weights is None else self.weights[chosen]
        share = None if self.share is None else self.share[chosen]
        return type(self)(self.chosen.rows(index), self.rejected.rows(index), self.margin[chosen], weights, share)

    def chance_of_flip(self, use_share: bool, of_all: float) -> Tensor | float:
        """(B,) of each label, that the other side is better: the share of people who said so; else that of all."""
        return 1 - self.share if use_share and self.share is not None else of_all


def _steps(count: int, like: Tensor) -> Tensor:
    """(1, count) 0, 1, 2, … on the device of another tensor."""
    return torch.arange(count, device=like.device)[None]
