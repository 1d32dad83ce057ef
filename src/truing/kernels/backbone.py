"""What is known of a model's layers, and how they are run."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.core.errors import ModelError

FAMILIES = {
    f"transformers.models.{family.lower()}.modeling_{family.lower()}.{family}Model"
    for family in ("Llama", "Mistral", "Qwen2", "Qwen3")
}
"""Backbones whose layers may be computed in another way, by name: importing all four takes a second"""
SkipPrefix = Callable[[Tensor | None], AbstractContextManager[object]]
"""Inside, given the hidden states that leave a model's lowest layers, a forward goes on from these"""


def is_known(model: PreTrainedModel) -> bool:
    """Whether all that a model's layers compute is known: it is of such a family, without sliding windows."""
    kind = type(model.base_model)
    # Not by the config's word: code that a model brings along may go by a family's name.
    known = f"{kind.__module__}.{kind.__qualname__}" in FAMILIES
    return known and getattr(model.config, "sliding_window", None) is None


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    """The list of a model's layers, and its name in the backbone; None for an architecture that is built otherwise."""
    count = getattr(model.config, "num_hidden_layers", None)
    lists = [
        (name, part)
        for name, part in model.base_model.named_children()
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
    model: PreTrainedModel, tokens: Tensor, mask: Tensor, skip: SkipPrefix, states: Tensor | None
) -> Tensor:
    """(B, T, D) last hidden states of right-padded rows (B, T), from the `states` behind a prefix where it has run."""
    with skip(states):
        hidden: Tensor = forward(model, tokens, mask).last_hidden_state
    return hidden
