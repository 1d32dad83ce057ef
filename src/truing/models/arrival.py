"""Weights of which each process keeps its part as they arrive from a model's files, so that none holds them all.

The library reads, renames and converts one weight after the other, and puts it into its layer; there it becomes a part.
So what each process has is what it would have of a model that was loaded whole.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import PreTrainedModel

from truing.config.sections import Compute
from truing.kernels.backbone import known_layers
from truing.models.stage_plan import layers_for_stages
from truing.models.tensor_plan import tensor_plan
from truing.processes import group
from truing.processes.layer_order import absent, stages_of_layers
from truing.processes.tensor_styles import axis_of

Keep = Callable[[nn.Parameter, torch.device], nn.Parameter | None]
"""Of a whole weight what this process keeps, on a device; None where that is nothing, for another process has it"""

KEEP_ALL = "Set compute.shard: false."
ONE_BY_ONE = "HF_DEACTIVATE_ASYNC_LOAD"
"""By which the library is told to read no weight before the one before it has arrived"""


def is_spread(compute: Compute) -> bool:
    """Whether each process keeps a part of the weights, of which there are several."""
    return group.tensor_size() > 1 or group.pipeline_size() > 1 or (compute.shard and group.size() > 1)


def parts_to_keep(model: PreTrainedModel) -> dict[str, Keep]:
    """The paths of weights that are to be spread as they arrive, and what becomes of each.

    They are those in layers: embeddings and projection may have to grow, and so are whole until then.

    Raises:
        ModelError: the model cannot be spread.
    """
    if group.tensor_size() > 1:
        ways = tensor_plan(model, group.tensor_size())
        named = ((path, *path.rpartition(".")[::2]) for path, _ in model.named_parameters())
        axes = {path: axis_of(ways[layer], name) for path, layer, name in named if layer in ways}
        return {path: partial(group.keep_part, axis) for path, axis in axes.items() if axis is not None}
    if group.pipeline_size() > 1:
        return _of_stages(model, group.pipeline_size())
    in_layers = {id(weight) for layer in known_layers(model, hint=KEEP_ALL) for weight in layer.parameters()}
    weights = ((path, weight) for path, weight in model.named_parameters() if id(weight) in in_layers)
    return {path: partial(group.keep_part, 0) for path, weight in weights if weight.dim()}


def _of_stages(model: PreTrainedModel, stages: int) -> dict[str, Keep]:
    """The weights of this process's layers are kept whole, and nothing of others."""
    layers = layers_for_stages(model, stages)
    in_layers = {id(weight) for layer in layers for weight in layer.parameters()}
    stage_of = zip(layers, stages_of_layers(len(layers), stages), strict=True)
    own = {id(weight) for layer, stage in stage_of if stage == group.pipeline_rank() for weight in layer.parameters()}
    named = ((path, id(weight)) for path, weight in model.named_parameters() if id(weight) in in_layers)
    return {path: keep_whole if weight in own else keep_nothing for path, weight in named}


def keep_whole(weight: nn.Parameter, device: torch.device) -> nn.Parameter:
    """A copy, which is no view of a file."""
    return nn.Parameter(weight.detach().to(device, copy=True), weight.requires_grad)


def keep_nothing(_: nn.Parameter, __: torch.device) -> None:
    """Of a weight that another process has."""


@contextmanager
def kept_in_parts(parts: Mapping[str, Keep], device: torch.device) -> Iterator[Collection[str]]:
    """Inside, of the weights of a model that the library builds and fills, by their paths, a process keeps its part.

    What is yielded has the paths of those that have arrived and of which it keeps nothing.
    """
    parents: dict[nn.Module, tuple[nn.Module, str]] = {}
    elsewhere: set[str] = set()

    def note(parent: nn.Module, name: str, child: nn.Module | None) -> None:
        if child is not None:
            parents[child] = parent, name

    def keep(module: nn.Module, name: str, weight: nn.Parameter | None) -> nn.Parameter | None:
        path = _path(module, name, parents)
        part_of = None if weight is None or weight.is_meta else parts.get(path)
        if weight is None or part_of is None:
            return None
        part = part_of(weight, device)
        if part is None:
            elsewhere.add(path)
            part = nn.Parameter(absent(weight, device), weight.requires_grad)
        part.__dict__.update(weight.__dict__)  # there the library notes what it need not draw
        return part

    hooks = [
        register_module_module_registration_hook(note),
        register_module_parameter_registration_hook(keep),  # type: ignore[arg-type]  # it may return a parameter
    ]
    before, os.environ[ONE_BY_ONE] = os.environ.get(ONE_BY_ONE), "1"
    try:
        yield elsewhere
    finally:
        for hook in hooks:
            hook.remove()
        os.environ.pop(ONE_BY_ONE)
        os.environ.update({} if before is None else {ONE_BY_ONE: before})


@torch.no_grad()
def let_go_of_files(model: PreTrainedModel, parts: Collection[str] = ()) -> None:
    """Copies what stays whole: read as it is in a file, it is a view of that, and one view keeps all of it mapped.

    Of numbers in 4 bit, which are no view of one, nothing is copied.
    """
    whole = [weight for path, weight in model.named_parameters() if path not in parts and weight.is_floating_point()]
    for tensor in [*whole, *model.buffers()]:
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _path(module: nn.Module, name: str, parents: Mapping[nn.Module, tuple[nn.Module, str]]) -> str:
    names = [name]
    while module in parents:
        module, name = parents[module]
        names.append(name)
    return ".".join(reversed(names))
