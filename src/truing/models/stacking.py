"""An adapter that was trained on top of another one, saved with it as one adapter on the base beneath both.

With scales s, a layer's weights are W + s₁B₁A₁ + s₂B₂A₂ = W + s₁ [B₁, (s₂/s₁) B₂] [A₁; A₂]: rank r₁ + r₂, by PEFT's own
formula. The upper one (1) stands first and as it was trained: a later stage takes it out again to the bit.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils import SAFETENSORS_WEIGHTS_NAME as WEIGHTS
from safetensors.torch import load_file, save_file
from torch import Tensor

from truing.models.weight_files import ADAPTER

UPPER = "upper_config.json"
"""In the directory of a stack: the configuration of the part that stands first"""
CARD = "README.md"
A, B = ".lora_A.weight", ".lora_B.weight"
INSIDE = "base_model.model."
"""Before the path that a layer has in its model"""


@dataclass(frozen=True)
class SavedAdapter:
    """The two files of a PEFT adapter."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    """By PEFT's paths: of each layer an A (r, in) and a B (out, r), beside rows of new tokens"""

    @property
    def rank(self) -> int:
        """Of every layer."""
        return int(self.config["r"])

    @property
    def scale(self) -> float:
        """By which a product of B and A counts."""
        return float(self.config["lora_alpha"]) / self.rank

    @property
    def layers(self) -> set[str]:
        """The paths of those that it is on."""
        return {path.removesuffix(A) for path in self.weights if path.endswith(A)}

    @property
    def is_plain(self) -> bool:
        """Whether each layer has two matrices whose inner side is the rank: not so of grouped convolutions."""
        own = self.weights
        return all(len(own[path + A]) == self.rank == own[path + B].shape[1] for path in self.layers)

    def factors(self, layer: str, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A and B of a layer: zeros shaped like these two, but for the rank, where it is not on that layer."""
        if layer in self.layers:
            return self.weights[layer + A], self.weights[layer + B]
        rank = self.rank
        return inputs.new_zeros(rank, *inputs.shape[1:]), outputs.new_zeros(len(outputs), rank, *outputs.shape[2:])


def read_adapter(directory: Path) -> SavedAdapter:
    """What PEFT saved there."""
    return SavedAdapter(json.loads((directory / ADAPTER).read_bytes()), load_file(directory / WEIGHTS))


def write_config(file: Path, config: dict[str, Any]) -> None:
    """The same bytes each time: PEFT writes sets in the order of the process's hash seed."""
    ordered = {key: sorted(value) if _names(value) else value for key, value in config.items()}
    file.write_text(json.dumps(ordered, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def stack(directory: Path, lower: Path) -> bool:
    """Makes of an adapter, trained on what `lower` was merged into, one with it on the base of that; says if it can be.

    It cannot where `lower` names no base, where the inner side of a layer is not the rank, or where the upper one has
    rows of new tokens, which are of the model it was trained on.
    """
    above, below = read_adapter(directory), read_adapter(lower)
    can_be = above.is_plain and below.is_plain and not above.config["trainable_token_indices"]
    if not can_be or below.config["base_model_name_or_path"] is None:
        return False
    both = stacked(above, below)
    for file in lower.iterdir():  # a tokenizer, where it has rows of new tokens
        if file.name not in (ADAPTER, WEIGHTS, UPPER, CARD):
            shutil.copyfile(file, directory / file.name)
    write_config(directory / ADAPTER, both.config)
    write_config(directory / UPPER, above.config)
    save_file(both.weights, directory / WEIGHTS, metadata={"format": "pt"})
    return True


def stacked(upper: SavedAdapter, lower: SavedAdapter) -> SavedAdapter:
    """Both as one, on every layer that one of them is on."""
    weights = dict(lower.weights)  # with its rows of new tokens
    for layer in upper.layers | lower.layers:
        some = upper if layer in upper.layers else lower
        like = some.weights[layer + A], some.weights[layer + B]
        (inputs, outputs), (more_inputs, more_outputs) = upper.factors(layer, *like), lower.factors(layer, *like)
        weights[layer + A] = torch.cat([inputs, more_inputs])
        weights[layer + B] = torch.cat([outputs, more_outputs * (lower.scale / upper.scale)], dim=1)
    rank = upper.rank + lower.rank
    rows = "trainable_token_indices"
    config = upper.config | {"r": rank, "lora_alpha": upper.scale * rank, rows: lower.config[rows]}
    if any(upper.config[key] != lower.config[key] for key in ("target_modules", "exclude_modules")):
        config["target_modules"] = [layer.removeprefix(INSIDE) for layer in upper.layers | lower.layers]
        config["exclude_modules"] = None
    return SavedAdapter(config, weights)


def trained_part(directory: Path) -> SavedAdapter:
    """The adapter as it was trained, where it may have been stacked on another one afterwards."""
    found = read_adapter(directory)
    if not (directory / UPPER).exists():
        return found
    config = json.loads((directory / UPPER).read_bytes())
    rank = config["r"]
    first = {path: weight[:rank] for path, weight in found.weights.items() if path.endswith(A)}
    first |= {path: weight[:, :rank].contiguous() for path, weight in found.weights.items() if path.endswith(B)}
    return SavedAdapter(config, first)


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
