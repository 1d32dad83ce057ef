"""What of a model stands before its layers and what behind them, found by going through it once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.kernels.backbone import known_layers
from truing.models.even_shares import layers_hint, refuse_few_layers
from truing.processes.layer_order import LayerOrder

MICRO_BATCHES = 4
"""For each stage that layers are cut into, of a batch that has as many rows: with M micro-batches and P stages, each of
them waits for (P − 1) / (M + P − 1) of the time"""


@dataclass
class Seen:
    """What was called, and with what, while a model was gone through."""

    before: dict[nn.Module, None] = field(default_factory=dict)
    behind: dict[nn.Module, None] = field(default_factory=dict)
    states: list[Tensor] = field(default_factory=list)
    """That reached each layer"""
    returned: list[Any] = field(default_factory=list)
    """By each layer"""


def layers_for_stages(model: PreTrainedModel, stages: int) -> nn.ModuleList:
    """The model's layers, one at least for each stage.

    Raises:
        ModelError: they are not one list, or too few.
    """
    layers = known_layers(model, hint=layers_hint("--pp"))
    refuse_few_layers(len(layers), stages, where=model.name_or_path)
    return layers


def order_of(model: PreTrainedModel, layers: Sequence[nn.Module], go_through: Callable[[], object]) -> LayerOrder:
    """The order in which `go_through` calls what has weights in the model, whose layers these are."""
    seen = Seen()

    def note_layer(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.states.append(given[0] if given else named["hidden_states"])

    def note_other(module: nn.Module, *_: object) -> None:
        (seen.behind if seen.states else seen.before)[module] = None

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(note_layer, with_kwargs=True).remove)
            hooks.callback(layer.register_forward_hook(lambda *noted: seen.returned.append(noted[-1])).remove)
        inside = {part for layer in layers for part in layer.modules()}
        for module in model.modules():
            is_beside = inside.isdisjoint(module.modules())
            if is_beside and any(True for _ in module.parameters(recurse=False)):
                hooks.callback(module.register_forward_pre_hook(note_other).remove)
        go_through()
    dtypes: list[torch.dtype] = [states.dtype for states in seen.states]
    is_tuple = isinstance(seen.returned[0], tuple)
    return LayerOrder([*seen.before], [*layers], [*seen.behind], seen.states[0].shape[-1], dtypes, is_tuple)
