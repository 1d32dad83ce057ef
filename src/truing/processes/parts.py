"""A model of which every process keeps a part: rows of each weight, a slice of each layer, or some of the layers."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel

from truing.kernels.next_token import WHOLE, Vocabulary
from truing.processes.place import Copies


class Parts:
    """What all ways have in common, and what a weight that is cut is: a DTensor, this process's part a plain tensor."""

    in_step_over_data = False
    """Whether those that read different rows have to go through the model equally often"""
    adds_up_gradients = False
    """Whether a backward leaves the sum over all rows, not that of the rows of this process"""
    writes = True
    """Whether this process's part is its own, and no other writes the same"""
    parts_are_whole_weights = False
    """Whether a part is all of a weight, of which other processes have nothing"""
    answers = True
    """Whether this process finds what follows on the last layer; if not, what it finds counts for nothing"""
    ahead = 0
    """Micro-batches that it reads before it goes back through the first, so that those behind it have work meanwhile"""
    stages = 1
    """That the layers are cut into, through which micro-batches go one behind the other"""
    vocabulary: Vocabulary = WHOLE
    adapter_layers: ClassVar[Mapping[type[nn.Module], type[nn.Module]]] = {}
    """Which layer carries an adapter, where it is another than it would be on a whole model"""

    def gather(self) -> None:
        """Makes the model such that this process may go through it as often as it likes, where that can be."""

    def release(self) -> None:
        """Keeps this process's part alone again, also of what a forward has left whole."""

    def cut_adapter(self, model: PreTrainedModel, name: str) -> None:
        """Cuts an adapter that was put on the model, where it has to be."""

    def backward_of(self, loss: Tensor) -> Callable[[], None]:
        """What goes back through the forwards that a loss was just computed by."""
        return lambda: loss.backward()  # type: ignore[no-untyped-call]

    def has(self, weight: nn.Parameter) -> bool:
        """Whether this process keeps anything of a weight."""
        return True

    def counts(self, weight: nn.Parameter) -> bool:
        """Whether its part counts, of the processes among which one model lies: it does once, if several have it."""
        return True

    def copies(self, weight: nn.Parameter) -> Copies:
        """Which others have the same part, and step it likewise."""
        return Copies.IN_STAGE

    def own_part(self, tensor: Tensor) -> Tensor:
        """What this process keeps of a weight, in the same memory; the weight itself where it is whole."""
        return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor

    def own_gradient(self, weight: nn.Parameter) -> Tensor | None:
        """The gradient of what this process keeps of a weight."""
        gradient = weight.grad
        if isinstance(gradient, DTensor) and isinstance(weight, DTensor):  # it may lie otherwise than the weight does
            gradient = gradient.redistribute(placements=weight.placements)
        return gradient if gradient is None else self.own_part(gradient)

    def own_part_of(self, weight: nn.Parameter, whole: Tensor) -> Tensor:
        """Of a tensor like a whole weight, what this process keeps of the weight."""
        axis = self.axis(weight)
        if axis is None or not isinstance(weight, DTensor):
            return whole
        parts = whole.chunk(weight.device_mesh.size(), dim=axis)
        rank = weight.device_mesh.get_local_rank()
        return parts[rank] if rank < len(parts) else whole.narrow(axis, 0, 0)

    def axis(self, weight: nn.Parameter) -> int | None:
        """Along which a weight is cut; None where it is whole."""
        if not isinstance(weight, DTensor):
            return None
        (placement,) = weight.placements
        return placement.dim if isinstance(placement, Shard) else None

    def whole(self, weight: nn.Parameter) -> Tensor:
        """A weight with the parts of all processes, none of which may miss here."""
        return weight.full_tensor() if isinstance(weight, DTensor) else weight.detach()
