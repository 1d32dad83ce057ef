"""Where a process stands among those of a run: which layers, slices and rows are its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Copies(Enum):
    """Which processes have the same part of a weight, besides those that share a layer."""

    IN_STAGE = auto()
    """Those with the same layers"""
    AT_ENDS = auto()
    """Those with the first layers, and those with the last"""
    EVERYWHERE = auto()


@dataclass(frozen=True)
class Place:
    """One process of several: of consecutive ranks, the first share a layer, the next read other rows."""

    rank: int
    size: int
    tensor: int
    """How many neighbours share each layer of a model, and so read the same rows"""
    pipeline: int
    """Into how many stages the layers of a model are cut, all of which read the same rows"""

    @property
    def tensor_rank(self) -> int:
        """This process's place among those that share each layer with it."""
        return self.rank % self.tensor

    @property
    def pipeline_rank(self) -> int:
        """The place of the layers that this process has."""
        return self.rank // self.in_stage

    @property
    def in_stage(self) -> int:
        """Processes of one stage of the pipeline, which are neighbours."""
        return self.size // self.pipeline

    @property
    def data_rank(self) -> int:
        """The place of the rows that it reads with a model that is spread."""
        return self.rank % self.in_stage // self.tensor

    @property
    def data_size(self) -> int:
        """In how many shares rows are read by a model that is spread."""
        return self.in_stage // self.tensor

    @property
    def work_rank(self) -> int:
        """The place of the work that it does with a model that is whole, or gathered but for slices."""
        return self.rank // self.tensor

    @property
    def work_size(self) -> int:
        """In how many shares that is done."""
        return self.size // self.tensor

    def ranks(self, kind: Copies) -> Sequence[int]:
        """Of all processes that step the same weights, those that share a layer with one of them included."""
        stages = {
            Copies.IN_STAGE: {self.pipeline_rank},
            Copies.AT_ENDS: {0, self.pipeline - 1},
            Copies.EVERYWHERE: {*range(self.pipeline)},
        }
        return [rank for rank in range(self.size) if rank // self.in_stage in stages[kind]]
