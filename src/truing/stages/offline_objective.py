"""What makes an algorithm whose policy learns from rows: its rows, its loss, and how it scores held-out responses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from truing.config.sections import Optimiser
from truing.core.batches import Batch
from truing.core.results import PairCard
from truing.evaluation.pair_card import pair_card
from truing.training.learner import LossFn

Micro = TypeVar("Micro")


class OfflineSettings(Protocol):
    """What the settings of every such algorithm have."""

    @property
    def epochs(self) -> int | None: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def optimiser(self) -> Optimiser: ...


@dataclass(frozen=True)
class HeldoutScores:
    """Held-out responses of which one is preferred to the other, N of each, by the policy as it is now."""

    chosen: Tensor
    """(N,) the policy's own reward"""
    rejected: Tensor
    chosen_lengths: Sequence[int]
    rejected_lengths: Sequence[int]
    chosen_logprobs: Tensor
    """(N,) log π of the whole response, nats"""

    def card(self) -> PairCard:
        """The policy's own reward, judged as a reward model is."""
        return pair_card(self.chosen, self.rejected, self.chosen_lengths, self.rejected_lengths)


@dataclass(frozen=True)
class OfflineObjective(Generic[Micro]):
    """What a stage learns from rows."""

    settings: OfflineSettings
    train: Batch[Micro]
    loss: LossFn[Micro]
    heldout: Callable[[], HeldoutScores]
    report: str
    """What became of rows that were too long"""
    ready: Callable[[Any], Batch[Micro]] = lambda batch: batch
    """What is made of a step's batch, by the policy as it is before the step"""
    held_by: str | None = None
    """The setting that holds the policy to its start, where there is one"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the result"""
