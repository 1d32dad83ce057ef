"""A model's lowest layers, for what can be asked of a few of them in the place of all."""

from copy import deepcopy
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from truing.kernels.backbone import decoder_layers

FEW = 2
"""At least that something is asked of: one reads what the other made"""


def keep_layers(config: PretrainedConfig, layers: int) -> None:
    """Leaves a model's config so many of its layers, the lowest."""
    own = config.get_text_config(decoder=True)
    if layers < getattr(own, "num_hidden_layers", 0):
        for name, value in own.to_dict().items():
            if isinstance(value, list) and len(value) == own.num_hidden_layers:  # such as the kind of each layer
                setattr(own, name, value[:layers])
        own.num_hidden_layers = layers


def layers_of_every_kind(model: PreTrainedModel) -> int:
    """How many of a model's lowest layers have one of each kind."""
    found = decoder_layers(model)
    first_of: dict[tuple[str, ...], int] = {}
    for place, layer in enumerate([] if found is None else found[1]):
        first_of.setdefault(tuple(type(part).__name__ for part in layer.modules()), place)
    return max(first_of.values(), default=0) + 1


def layers_to_ask(model: PreTrainedModel) -> int:
    """The same, or `FEW` where that is more."""
    return max(FEW, layers_of_every_kind(model))


def lowest_layers(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the lowest `layers_to_ask`, or of all where they are not one list, with weights in the same memory.

    What becomes of its modules, or of whether its weights learn, does not touch the model.
    """
    layers = layers_to_ask(model)
    known: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for weight in model.parameters():  # of another class are those in 4 bit, which never learn
        known[id(weight)] = nn.Parameter(weight.detach(), False) if type(weight) is nn.Parameter else weight
    if found := decoder_layers(model):
        known[id(found[1])] = deepcopy(found[1][:layers], known)
    few = deepcopy(model, known)
    keep_layers(few.config, layers)
    return few
