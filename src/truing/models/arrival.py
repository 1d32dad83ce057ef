"""Weights of which each process keeps its part as they arrive from a model's files, so that none holds them all.

The library reads, renames and converts one weight after the other, and puts it into its layer; there it becomes a part.
So what each process has is what it would have of a model that was loaded whole.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import PreTrainedModel

from truing.config.sections import Compute
from truing.kernels.backbone import known_layers
from truing.models.tensor_plan import tensor_plan
from truing.processes import group
from truing.processes.tensor_styles import axis_of

KEEP_ALL = "Set compute.shard: false."
ONE_BY_ONE = "HF_DEACTIVATE_ASYNC_LOAD"
"""By which the library is told to read no weight before the one before it has arrived"""


def is_spread(compute: Compute) -> bool:
    """Whether each process keeps a part of the weights, of which there are several."""
    return group.tensor_size() > 1 or (compute.shard and group.size() > 1)


def axes_of_parts(model: PreTrainedModel) -> dict[str, int]:
    """The paths of weights that are to be spread as they arrive, and along which axis.

    They are those in layers: embeddings and projection may have to grow, and so are whole until then.

    Raises:
        ModelError: the model cannot be spread.
    """
    if group.tensor_size() > 1:
        ways = tensor_plan(model, group.tensor_size())
        named = ((path, *path.rpartition(".")[::2]) for path, _ in model.named_parameters())
        axes = {path: axis_of(ways[layer], name) for path, layer, name in named if layer in ways}
        return {path: axis for path, axis in axes.items() if axis is not None}
    in_layers = {id(weight) for layer in known_layers(model, hint=KEEP_ALL) for weight in layer.parameters()}
    return {path: 0 for path, weight in model.named_parameters() if id(weight) in in_layers and weight.dim()}


@contextmanager
def kept_in_parts(axes: Mapping[str, int], device: torch.device) -> Iterator[None]:
    """Inside, of the weights of a model that the library builds and fills, by their paths, a process keeps its part."""
    parents: dict[nn.Module, tuple[nn.Module, str]] = {}

    def note(parent: nn.Module, name: str, child: nn.Module | None) -> None:
        if child is not None:
            parents[child] = parent, name

    def keep(module: nn.Module, name: str, weight: nn.Parameter | None) -> nn.Parameter | None:
        axis = None if weight is None or weight.is_meta else axes.get(_path(module, name, parents))
        if weight is None or axis is None:
            return None
        part = group.keep_part(weight, axis, device)
        part.__dict__.update(weight.__dict__)  # there the library notes what it need not draw
        return part

    hooks = [
        register_module_module_registration_hook(note),
        register_module_parameter_registration_hook(keep),  # type: ignore[arg-type]  # it may return a parameter
    ]
    before, os.environ[ONE_BY_ONE] = os.environ.get(ONE_BY_ONE), "1"
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        os.environ.pop(ONE_BY_ONE)
        os.environ.update({} if before is None else {ONE_BY_ONE: before})


@torch.no_grad()
def let_go_of_files(model: PreTrainedModel, axes: Mapping[str, int]) -> None:
    """Copies what stays whole: read as it is in a file, it is a view of that, and one view keeps all of it mapped."""
    whole = [weight for path, weight in model.named_parameters() if path not in axes]
    for tensor in [*whole, *model.buffers()]:
        tensor.data = tensor.data.clone()


def _path(module: nn.Module, name: str, parents: Mapping[nn.Module, tuple[nn.Module, str]]) -> str:
    names = [name]
    while module in parents:
        module, name = parents[module]
        names.append(name)
    return ".".join(reversed(names))
