"""Gradient checkpointing: a decoder layer keeps its input alone, and runs again when its gradient is wanted.

Chen et al. 2016 (arXiv:1604.06174): one more forward, for activations of one layer at a time. The library's own switch
works in training mode only, where dropout would be on; here models are never in it.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, PreTrainedModel

from truing.core.errors import ModelError
from truing.kernels.backbone import decoder_layers
from truing.kernels.packed_rows import ATTENTION, row_by_row


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Has every decoder layer of the model recomputed in the backward.

    Raises:
        ModelError: its layers are not one list, so they are not known.
    """
    found = decoder_layers(model)
    if found is None:
        raise ModelError(
            f"the layers of {type(model).__name__} are not one list, so they cannot be recomputed.",
            where=model.name_or_path,
            hint="Set compute.gradient_checkpointing: false.",
        )
    layers = found[1]
    # The library has built the layers. Wrapped, as by torch's checkpoint_wrapper, they would give their weights other
    # names, which PEFT's targets and the files of adapters know; so each becomes one of a class that recomputes.
    kinds = {kind: _checkpointed(kind, model.config) for kind in {type(layer) for layer in layers}}
    for layer in layers:
        layer.__class__ = kinds[type(layer)]


def _checkpointed(kind: type[nn.Module], config: PretrainedConfig) -> type[nn.Module]:
    """The same kind of layer. Its adapter must be in force in the backward too, as `Adapters` asks anyway."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        run = partial(kind.forward, self, **kwargs)
        if not torch.is_grad_enabled():
            return run(*args)
        # There is no dropout, so the generator's state does not matter.
        same = partial(_with_the_attention_of_now, config)
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False, context_fn=same)

    return type(kind.__name__, (kind,), {"forward": forward})


def _with_the_attention_of_now(
    config: PretrainedConfig,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What the first run and the second are in: rows that were packed are read so again."""
    again = row_by_row(config) if config._attn_implementation == ATTENTION else nullcontext()
    return nullcontext(), again
