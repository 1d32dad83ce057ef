"""What an optimiser steps of a weight: all of it, or the part that this process keeps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from truing.models.roles import Role
from truing.processes.place import Copies

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
    def axis(self) -> int | None:
        """Along which the weight is in parts; None where this process steps it whole, as all others do."""
        return self.parts.axis(self.weight) if self.parts else None

    @property
    def is_part(self) -> bool:
        """Whether this process keeps and steps but a part."""
        return self.axis is not None

    @property
    def counts(self) -> bool:
        """Whether it is this process's part that counts, of those that have the same of one model."""
        return self.parts is None or self.parts.counts(self.weight)

    @property
    def copies(self) -> Copies:
        """Which others step the same."""
        return self.parts.copies(self.weight) if self.parts else Copies.IN_STAGE

    @property
    def is_added_up(self) -> bool:
        """Whether a backward leaves the gradient of all rows, not of this process's."""
        return self.is_part and self.parts is not None and self.parts.adds_up_gradients

    def axis_of(self, value: Tensor) -> int | None:
        """That of the weight or a moment, or None: Adam's count of steps is whole where others step a part too."""
        in_parts = value.dim() > 0 or (self.parts is not None and self.parts.parts_are_whole_weights)
        return self.axis if in_parts else None

    def own_part_of(self, whole: Tensor) -> Tensor:
        """What this process keeps of a tensor that belongs to the whole weight."""
        is_part = self.axis_of(whole) is not None
        return self.parts.own_part_of(self.weight, whole) if self.parts and is_part else whole

    def take_gradient(self) -> None:
        """Hands the gradient of the model's weight on to the part, where that is another tensor."""
        if self.parts and self.part is not self.weight:
            self.part.grad = self.parts.own_gradient(self.weight)
            self.weight.grad = None


def stepped_weights(name: str, role: Role) -> dict[str, Stepped]:
    """What a role learns and this process keeps of it, by the role's name and the paths of the weights."""
    parts = role.parts
    found: dict[str, Stepped] = {}
    for path, weight in role.named_parameters().items():
        if parts and not parts.has(weight):
            continue
        part = parts.own_part(weight) if parts else weight
        found[f"{name}/{path}"] = Stepped(weight, weight if part is weight else nn.Parameter(part), parts)
    return found
