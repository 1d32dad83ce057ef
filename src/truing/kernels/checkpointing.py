"""Gradient checkpointing: a decoder layer keeps its input alone, and runs again when its gradient is wanted.

Chen et al. 2016 (arXiv:1604.06174): one more forward, for activations of one layer at a time. The library's own switch
works in training mode only, where dropout would be on; here models are never in it.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from truing.kernels.backbone import known_layers


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Has every decoder layer of the model recomputed in the backward.

    The library has built them. In a wrapper, such as torch's `checkpoint_wrapper`, their weights would have other
    names, which `lora.targets` and the files of adapters know; so each becomes one of a class that recomputes.

    Raises:
        ModelError: its layers are not one list, so they are not known.
    """
    layers = known_layers(model, hint="Set compute.gradient_checkpointing: false.")
    kinds = {kind: _checkpointed(kind) for kind in {type(layer) for layer in layers}}
    for layer in layers:
        layer.__class__ = kinds[type(layer)]


def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """The same kind of layer. Its adapter must be in force in the backward too, as `Adapters` asks anyway."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        run = partial(kind.forward, self, **kwargs)
        if not torch.is_grad_enabled():
            return run(*args)
        # There is no dropout, so the generator's state does not matter.
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False)

    return type(kind.__name__, (kind,), {"forward": forward})
