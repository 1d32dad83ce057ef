"""What a forward of a model goes through, one thing after the other, so that it can be cut between its layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerOrder:
    """A model's layers, and what has weights before and behind them."""

    before: Sequence[nn.Module]
    """Embeddings"""
    layers: Sequence[nn.Module]
    behind: Sequence[nn.Module]
    """The last norm, and the projection to the vocabulary"""
    width: int
    """Of a hidden state"""
    dtypes: Sequence[torch.dtype]
    """Of the hidden states that reach each layer"""
    tuples: bool
    """Whether a layer returns its hidden states as the first of several things"""


def stages_of_layers(layers: int, stages: int) -> list[int]:
    """Of each of a model's layers the stage that computes it: as many in each, the first ones may have one more."""
    return [place * stages // layers for place in range(layers)]


def absent(weight: Tensor, device: torch.device) -> Tensor:
    """What stands for a weight that another process has: of its shape, and one number that is none in memory."""
    return torch.full((), torch.nan, dtype=weight.dtype, device=device).expand(weight.shape)
