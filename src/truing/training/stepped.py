"""What an optimiser steps of a weight: all of it, or the rows that this process keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from truing.models.roles import Role

if TYPE_CHECKING:
    from truing.processes.sharding import Shards


@dataclass(frozen=True)
class Stepped:
    """A weight that learns."""

    weight: nn.Parameter
    """As the model has it"""
    part: nn.Parameter
    """What this process steps of it: all, or its rows where each process keeps a part, in the same memory"""
    shards: "Shards | None"

    @property
    def is_sharded(self) -> bool:
        return self.part is not self.weight

    def in_rows(self, value: Tensor) -> bool:
        """Whether of such a tensor (the weight, or a moment, but not Adam's count of steps) this process has rows."""
        return self.is_sharded and value.dim() > 0

    def own_rows(self, whole: Tensor) -> Tensor:
        """What this process keeps of a tensor that belongs to the whole weight."""
        return self.shards.own_rows(whole) if self.shards and self.in_rows(whole) else whole

    def take_gradient(self) -> None:
        """Hands the gradient of a sharded weight on to its part."""
        if self.shards and self.is_sharded and self.weight.grad is not None:
            self.part.grad = self.shards.own_part(self.weight.grad)
            self.weight.grad = None


def stepped_weights(name: str, role: Role) -> dict[str, Stepped]:
    """What a role learns, by its name and the paths of the weights."""
    shards = role.shards
    found: dict[str, Stepped] = {}
    for path, weight in role.named_parameters().items():
        part = shards.own_part(weight) if shards else weight
        found[f"{name}/{path}"] = Stepped(weight, weight if part is weight else nn.Parameter(part), shards)
    return found
