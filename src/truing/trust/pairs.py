"""Pairs as a reward model scored them: what most questions of a report card are answered from."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from truing.core.results import Measure
from truing.evaluation.pair_card import share_interval, wins


@dataclass(frozen=True)
class Answers:
    """One side of N pairs."""

    texts: Sequence[str]
    lengths: Sequence[int]
    """In tokens, or in characters where there is no tokenizer"""
    scores: Sequence[float]
    """As the model gives them, not normalised"""


@dataclass(frozen=True)
class ScoredPairs:
    """N pairs of which people preferred the chosen side."""

    chosen: Answers
    rejected: Answers
    prompts: Sequence[Hashable]
    """(N,) equal where the prompt is the same"""
    sources: Sequence[str] = ()
    """(N,) where each is from, empty where its row does not say; none at all where no row does"""

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def gaps(self) -> Tensor:
        """(N,) by how much the chosen side scores higher."""
        return _numbers(self.chosen.scores) - _numbers(self.rejected.scores)

    @cached_property
    def right(self) -> Tensor:
        """(N,) 1 where the chosen side scores higher, ½ where both score the same, else 0."""
        return wins(self.gaps)

    @cached_property
    def longer(self) -> Tensor:
        """(N,) by how much the chosen side is longer."""
        return _numbers(self.chosen.lengths) - _numbers(self.rejected.lengths)

    @cached_property
    def groups(self) -> Tensor:
        """(N,) int64: the number of each pair's prompt."""
        known: dict[Hashable, int] = {}
        return torch.tensor([known.setdefault(prompt, len(known)) for prompt in self.prompts])

    @cached_property
    def scale(self) -> float:
        """Standard deviation of the score over all 2N responses."""
        return float(_numbers([*self.chosen.scores, *self.rejected.scores]).std(correction=0))


def share_right(name: str, right: Tensor) -> Measure:
    """The accuracy over some pairs, with Wilson's interval."""
    return Measure(name, float(right.mean()), share_interval(right), len(right))


def _numbers(values: Sequence[float] | Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
