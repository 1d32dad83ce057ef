"""A model of which every process holds a part of each weight, by FSDP2 of `torch.distributed`.

A layer's weights are gathered for as long as the layer computes. What each process keeps is its rows of them, of their
gradients and of what the optimiser remembers. So all processes have to go through the layers equally often.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from truing.core.heap import give_back_large_blocks
from truing.processes.parts import Parts

NEEDS = "reset_iter_state"
"""What a torch has that is new enough: 2.13"""


def can_shard() -> bool:
    """Whether this torch has all that sharding needs."""
    return hasattr(FSDPModule, NEEDS)


class Shards(Parts):
    """The parts of a model whose weights are gathered together, by rows."""

    in_step_over_data = True
    adds_up_gradients = True

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
            ValueError: a weight is a single number.
        """
        give_back_large_blocks()
        device = next(backbone.parameters()).device
        mesh = init_device_mesh(device.type, (size,))
        rows = _set_aside(backbone)
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard([*vocabulary], mesh=mesh, reshard_after_forward=False)
        fully_shard(backbone, mesh=mesh)
        _put_back(backbone, rows)
        nn.Module.to(backbone, device)  # by which FSDP notices them
        self._layers = [layer for layer in layers if isinstance(layer, FSDPModule)]
        assert isinstance(backbone, FSDPModule)
        self._root = backbone
        self._device = device
        self._gone_through = False
        """Whether this process has been through it: one that had no part of the work has not"""
        backbone.register_forward_pre_hook(self._note)
        self._parts = [part for part in (backbone, *vocabulary, *layers) if isinstance(part, FSDPModule)]
        for part in self._parts:
            part.set_gradient_divide_factor(1.0)  # a loss is a sum over all rows, divided by the count of all
            part.set_force_sum_reduction_for_comms(True)

    def gather(self) -> None:
        """Makes the model whole in each process, which may then go through it as often as it likes.

        Or through parts of it: so the whole is gone through before, as FSDP takes for it what is gone through first.
        """
        if not self._gone_through:
            with torch.no_grad():
                self._root(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self._device))
        for layer in self._layers:
            layer.set_reshard_after_forward(False, recurse=False)
        for part in self._parts:
            part.unshard()

    def release(self) -> None:
        """Keeps this process's rows alone again, also of what a forward has left whole."""
        for layer in self._layers:
            layer.set_reshard_after_forward(True, recurse=False)
        for part in self._parts:
            part.reshard()
        if self._gone_through:  # resharding spares what is in a forward, as a layer called by itself is taken to be
            self._root.reset_iter_state()

    def _note(self, *_: object) -> None:
        self._gone_through = True


def _set_aside(backbone: nn.Module) -> dict[str, Tensor]:
    """The rows of weights that are kept in parts already; in their place stand whole ones that take no memory."""
    rows: dict[str, Tensor] = {}
    for path, weight in [*backbone.named_parameters()]:
        if isinstance(weight, DTensor):
            rows[path] = weight.to_local().detach()
            whole = torch.empty(weight.shape, dtype=weight.dtype, device="meta")
            _put(backbone, path, nn.Parameter(whole, weight.requires_grad))
    return rows


def _put_back(backbone: nn.Module, rows: Mapping[str, Tensor]) -> None:
    weights = dict(backbone.named_parameters())
    for path, own in rows.items():
        weight = weights[path]
        assert isinstance(weight, DTensor)
        part = DTensor.from_local(
            own, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
        )
        _put(backbone, path, nn.Parameter(part, weight.requires_grad))


def _put(backbone: nn.Module, path: str, weight: nn.Parameter) -> None:
    parent, _, name = path.rpartition(".")
    setattr(backbone.get_submodule(parent), name, weight)
