"""Scalar heads: what critics and reward models read from the last hidden state. Always float32."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from truing.core import rng
from truing.kernels.text_config import width

HEAD = "head.safetensors"


def scalar_head(model: PreTrainedModel, seed: int, bias: bool) -> nn.Linear:
    """A head from Normal(0, 1/√(d+1)), bias 0 (Stiennon et al. 2020), in float32."""
    size = width(model)
    head = nn.Linear(size, 1, bias=bias, device=model.device, dtype=torch.float32)
    values = rng.normal(seed, "scalar head", count=size) / (size + 1) ** 0.5
    with torch.no_grad():
        head.weight.copy_(torch.tensor(values, dtype=torch.float32)[None])
        if bias:
            head.bias.zero_()
    return head


def load_head(head: nn.Linear, directory: Path) -> None:
    """Fills a scalar head from an adapter or reward model directory."""
    head.load_state_dict(load_file(directory / HEAD))
