"""Copies of a base that have few of its layers and random weights, and what they say about all layers.

What a run holds and how long it takes grows evenly with each layer, so it is measured on copies of one and of three
layers. With `lora.layers` below 1, the frozen layers below the adapted ones cost something else than those above, so a
third copy tells the two apart.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from shutil import copy

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights

from truing.config.sections import Base
from truing.kernels.backbone import decoder_layers, is_known
from truing.models.first_layers import keep_layers
from truing.models.load import LoadedBase
from truing.models.prefix import prefix_depth

DEEPER = 3
"""Layers of the deeper copies"""


@dataclass(frozen=True)
class Depth:
    """Layers of a model."""

    below: int
    """Those below the lowest that policy and critic adapt"""
    above: int
    """The others; 1 for a model whose layers are not known one by one"""

    @property
    def layers(self) -> int:
        """All of them."""
        return self.below + self.above

    @property
    def adapted(self) -> float:
        """The share that policy and critic adapt, as the recipe's `lora.layers` has it."""
        return self.above / self.layers


def depth_of(model: PreTrainedModel, share: float) -> Depth:
    """The layers of a model of which policy and critic adapt the upper `share`.

    Raises:
        ModelError: these cannot be told.
    """
    found = decoder_layers(model)
    below = prefix_depth(model, share)
    return Depth(below, (1 if found is None else len(found[1])) - below)


def depths_to_try(whole: Depth) -> list[Depth]:
    """Those of the copies that are measured for the whole, the shallowest first."""
    if whole.layers <= DEEPER:
        return [whole]
    first = Depth(min(whole.below, 1), 1)
    others = [Depth(min(whole.below, DEEPER), 1), Depth(first.below, min(whole.above, DEEPER))]
    return [first, *(other for other in others if other != first)]


def extrapolated(whole: Depth, measured: Mapping[Depth, float]) -> float:
    """A figure of the whole, from those of the depths to try: each further layer adds as much as those in between.

    It is at least what was measured, however much that was disturbed.
    """
    (first, figure), *others = measured.items()
    result = figure
    for depth, deeper in others:
        further = whole.below - first.below if depth.below > first.below else whole.above - first.above
        result += (deeper - figure) * further / (depth.layers - first.layers)
    return max(result, *measured.values())


def bytes_of_copy(model: PreTrainedModel, layers: int) -> int:
    """Bytes of the weights of a copy with so many layers."""
    found = decoder_layers(model)
    left_out = nn.ModuleList() if found is None else found[1][layers:]
    weights = {*model.parameters()} - {weight for layer in left_out for weight in layer.parameters()}
    return sum(weight.nbytes for weight in weights)


def write_copy(base: LoadedBase, source: Base, layers: int, place: Path) -> None:
    """Writes a base with the config and the tokenizer of this one, of so many layers, to a directory.

    base: without its weights. source: what the recipe says of it.
    """
    config = deepcopy(base.model.config)
    if decoder_layers(base.model) is not None:
        keep_layers(config, layers)
    if base.new_rows:  # the copy lacks them as its base does; loading adds them, and a pad among them, once more
        own = config.get_text_config(decoder=True)
        own.vocab_size -= len(base.new_rows)
        config.pad_token_id = own.pad_token_id = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Of such a model the library draws all weights, so torch need not draw those of a whole vocabulary before.
        draws_all = is_known(base.model) and not source.trust_remote_code
        with no_init_weights() if draws_all else nullcontext():
            model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=base.model.dtype, trust_remote_code=source.trust_remote_code
            )
        if draws_all:
            model.init_weights()
    model.save_pretrained(place)
    base.tokenizer.save_pretrained(place)
    for code in Path(source.path).glob("*.py"):
        copy(code, place)
