"""What an optimiser steps of a weight: all of it, or the part that this process keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from truing.models.roles import Role

if TYPE_CHECKING:
    from truing.processes.parts import Parts


@dataclass(frozen=True)
class Stepped:
    """A weight that learns."""

    weight: nn.Parameter
    """As the model has it"""
    part: nn.Parameter
    """What this process steps of it: all, or its part where it keeps but one, in the same memory"""
    parts: "Parts | None"

    @property
    def is_cut(self) -> bool:
        """Whether this process keeps and steps a part."""
        return self.part is not self.weight

    @property
    def is_added_up(self) -> bool:
        """Whether a backward leaves the gradient of all rows, not of this process's."""
        return self.is_cut and self.parts is not None and self.parts.adds_up_gradients

    @property
    def axis(self) -> int:
        """Along which the weight is cut, where it is."""
        return (self.parts.axis(self.weight) if self.parts else None) or 0

    def in_parts(self, value: Tensor) -> bool:
        """Whether of such a tensor (the weight, or a moment, but not Adam's count of steps) this process has a part."""
        return self.is_cut and value.dim() > 0

    def own_slice(self, whole: Tensor) -> Tensor:
        """What this process keeps of a tensor that belongs to the whole weight."""
        return self.parts.own_slice(self.weight, whole) if self.parts and self.in_parts(whole) else whole

    def take_gradient(self) -> None:
        """Hands the gradient of a weight that is cut on to its part."""
        if self.parts and self.is_cut:
            self.part.grad = self.parts.own_gradient(self.weight)
            self.weight.grad = None


def stepped_weights(name: str, role: Role) -> dict[str, Stepped]:
    """What a role learns, by its name and the paths of the weights."""
    parts = role.parts
    found: dict[str, Stepped] = {}
    for path, weight in role.named_parameters().items():
        part = parts.own_part(weight) if parts else weight
        found[f"{name}/{path}"] = Stepped(weight, weight if part is weight else nn.Parameter(part), parts)
    return found
