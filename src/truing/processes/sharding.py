"""A model of which every process holds a part of each weight, by FSDP2 of `torch.distributed`.

A layer's weights are gathered for as long as the layer computes. What each process keeps is its rows of them, of their
gradients and of what the optimiser remembers. So all processes have to go through the layers equally often.
"""

import ctypes
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

M_MMAP_THRESHOLD = -3
"""What glibc calls the size from which on a block is the system's, not the heap's"""
LARGE = 1 << 20
"""Bytes"""


class Shards:
    """The parts of a model whose weights are gathered together."""

    def __init__(
        self, backbone: nn.Module, layers: Sequence[nn.Module], vocabulary: Sequence[nn.Module], size: int
    ) -> None:
        """Keeps of all weights this process's rows alone.

        Args:
            backbone: what a forward goes through.
            layers: of it, each to be gathered on its own.
            vocabulary: embeddings and projection. They are gathered as one, since they may be one weight, and stay
                until a backward is done, since the projection is read outside of the backbone.
            size: how many processes there are.

        Raises:
            ValueError: torch is too old for it, or a weight is a single number.
        """
        if not hasattr(FSDPModule, "reset_iter_state"):
            raise ValueError(f"torch {torch.__version__} cannot let go of layers that were called one by one")
        _give_back_large_blocks()
        mesh = init_device_mesh(next(backbone.parameters()).device.type, (size,))
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard([*vocabulary], mesh=mesh, reshard_after_forward=False)
        fully_shard(backbone, mesh=mesh)
        self._layers = [layer for layer in layers if isinstance(layer, FSDPModule)]
        assert isinstance(backbone, FSDPModule)
        self._root = backbone
        self._parts = [part for part in (backbone, *vocabulary, *layers) if isinstance(part, FSDPModule)]
        for part in self._parts:
            part.set_gradient_divide_factor(1.0)  # a loss is a sum over all rows, divided by the count of all
            part.set_force_sum_reduction_for_comms(True)

    def gather(self) -> None:
        """Makes the model whole in each process, which may then go through it as often as it likes."""
        for layer in self._layers:
            layer.set_reshard_after_forward(False, recurse=False)
        for part in self._parts:
            part.unshard()

    def release(self) -> None:
        """Keeps this process's rows alone again, also of what a forward has left whole."""
        for layer in self._layers:
            layer.set_reshard_after_forward(True, recurse=False)
        self._root.reset_iter_state()  # a layer that was called by itself still waits for the rest of a forward


def _give_back_large_blocks() -> None:
    """Has glibc return to the system at once what a layer's weights took.

    Left to itself, it learns from the first of them to keep their like on its heap, where blocks of all sizes come and
    go with each layer and leave gaps: that cost more than sharding saved.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)


def own_part(tensor: Tensor) -> Tensor:
    """The rows that this process holds of a weight or its gradient, in the same memory; itself where it is whole."""
    return tensor.to_local().detach() if isinstance(tensor, DTensor) else tensor


def own_rows(weight: nn.Parameter, whole: Tensor, rank: int) -> Tensor:
    """Of a tensor like the whole weight, the rows that the process of this rank holds."""
    if not isinstance(weight, DTensor):
        return whole
    parts = whole.chunk(weight.device_mesh.size(), dim=0)
    return parts[rank] if rank < len(parts) else whole[:0]


def with_all_rows(weight: nn.Parameter) -> Tensor:
    """The weight whole, from all processes."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight.detach()
