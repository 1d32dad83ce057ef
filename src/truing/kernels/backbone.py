"""What is known of a model's layers, and how they are run."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.core.errors import ModelError
from truing.kernels.text_config import text_config

FAMILIES = {
    f"transformers.models.{family.lower()}.modeling_{family.lower()}.{family}Model"
    for family in ("Llama", "Mistral", "Qwen2", "Qwen3")
}
"""Backbones whose layers may be computed in another way, by name: importing all four takes a second"""
OURS = ("truing.kernels.fused_layer", "truing.kernels.checkpointing")
"""Modules whose layers compute what a family's own do"""
LANGUAGE_MODEL = "language_model"
"""What the backbone of a composite model calls the part that reads text"""
SkipPrefix = Callable[[Tensor | None], AbstractContextManager[object]]
"""Inside, given the hidden states that leave a model's lowest layers, a forward goes on from these"""


def is_known(model: PreTrainedModel) -> bool:
    """Whether all that a model's layers compute is known: it is of such a family, without sliding windows."""
    kind = type(model.base_model)
    # Not by the config's word: code that a model brings along may go by a family's name.
    known = f"{kind.__module__}.{kind.__qualname__}" in FAMILIES
    if not known or getattr(model.config, "sliding_window", None) is not None:
        return False
    # Nor by the backbone's: such code may put layers of its own into it, or parts of layers.
    backbone: Any = model.base_model
    parts = (part for layer in backbone.layers for part in (layer, *layer.children()))
    return all(type(part).forward.__module__ in (kind.__module__, *OURS) for part in parts)


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    """The list of a model's layers, and its name in the backbone; None for an architecture that is built otherwise."""
    count = getattr(text_config(model), "num_hidden_layers", None)
    inside = getattr(model.base_model, LANGUAGE_MODEL, None)  # beside what reads pictures or sound
    root, parent = (model.base_model, "") if inside is None else (inside, f"{LANGUAGE_MODEL}.")
    lists = [
        (parent + name, part)
        for name, part in root.named_children()
        if isinstance(part, nn.ModuleList) and len(part) == count
    ]
    return lists[0] if len(lists) == 1 else None


def known_layers(model: PreTrainedModel, hint: str) -> nn.ModuleList:
    """The list of a model's layers; ModelError, with a hint, where there is no telling which they are."""
    found = decoder_layers(model)
    if found is None:
        what = f"the layers of {type(model).__name__} are not one list, so they are not known one by one."
        raise ModelError(what, code="model/unknown-layers", where=model.name_or_path, hint=hint)
    return found[1]


def forward(model: PreTrainedModel, tokens: Tensor, mask: Tensor, cache: Any = None, use_cache: bool = False) -> Any:
    """The backbone's output for (B, S) new tokens; `mask` (B, cached + S) also counts the cached ones."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    return model.base_model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=use_cache
    )


def hidden_padded(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor,
    skip: SkipPrefix,
    states: Tensor | None,
    lengths: Sequence[int] | None = None,
) -> Tensor:
    """(B, T, D) last hidden states of right-padded rows (B, T), from the `states` behind a prefix where it has run."""
    with skip(states):
        hidden: Tensor = forward(model, tokens, mask).last_hidden_state
    return hidden


def hidden_unpadded(
    model: PreTrainedModel,
    tokens: Tensor,
    mask: Tensor,
    skip: SkipPrefix,
    states: Tensor | None,
    lengths: Sequence[int] | None = None,
) -> Tensor:
    """`hidden_padded` for a model that reads padding too: rows of equal length go through it together."""
    lengths = lengths or mask.sum(1).tolist()
    found: dict[int, Tensor] = {}
    for length in sorted(set(lengths)):
        rows = [row for row, own in enumerate(lengths) if own == length]
        known = None if states is None else states[rows, :length]
        hidden = hidden_padded(model, tokens[rows, :length], mask[rows, :length], skip, known)
        found |= dict(zip(rows, F.pad(hidden, (0, 0, 0, tokens.shape[1] - length)), strict=True))
    return torch.stack([found[row] for row in range(len(lengths))])
