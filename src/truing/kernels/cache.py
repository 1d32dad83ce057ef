"""A key-value cache with room for every token to come, taken once.

The library's own cache is copied whole at every step. Here a step writes its own keys and values; a row that has
finished gives its place to the last one that goes on, so that the rest of the cache stays where it is.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin


class SizedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values (B, heads, tokens, D) of one layer, as views of the room taken for them."""

    keys: Tensor
    values: Tensor

    def __init__(self, read: Any, rows: Tensor, capacity: int) -> None:
        """Args:
        read: a layer of the library's cache, after the prompts were read.
        rows: (B,) which of its rows each row of ours begins as; several may share one.
        capacity: tokens there will be at most.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(read.keys, read.values)
        self._room = tuple(_with_room(part, rows, capacity) for part in (read.keys, read.values))
        self._show(len(rows), read.keys.shape[-2])

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes the keys and values of new tokens behind the old ones and returns all."""
        rows, length = len(self.keys), self.keys.shape[-2] + key_states.shape[-2]
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:rows, :, self.keys.shape[-2] : length] = new
        self._show(rows, length)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Row i becomes what row `indices[i]` was. Rows that stay where they are cost nothing."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(1)
        for part in (self.keys, self.values):
            part[moved] = part[indices[moved]]
        self._show(len(indices), self.keys.shape[-2])

    def _show(self, rows: int, length: int) -> None:
        self.keys, self.values = (room[:rows, :, :length] for room in self._room)


def _with_room(part: Tensor, rows: Tensor, capacity: int) -> Tensor:
    room = part.new_empty(len(rows), part.shape[1], capacity, part.shape[3])
    room[:, :, : part.shape[2]] = part[rows]
    return room


def make_room(cache: Any, rows: Tensor, capacity: int) -> None:
    """Gives the cache that a model made of its prompts one row for each of `rows` (B,), and room for `capacity` tokens.

    Layers of another kind, such as sliding windows and recurrent states, and caches of a model's own keep their way.
    """
    for place, layer in enumerate(getattr(cache, "layers", [])):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[place] = SizedLayer(layer, rows, capacity)
        else:
            _select(layer, rows)
    if not hasattr(cache, "layers"):
        cache.batch_select_indices(rows)


def select_rows(cache: Any, rows: Tensor) -> None:
    """Row i of a cache becomes what row `rows[i]` was."""
    for layer in getattr(cache, "layers", [cache]):
        _select(layer, rows)


def _select(layer: Any, rows: Tensor) -> None:
    """Layers with a recurrent state know this as the reordering of a beam search."""
    select = getattr(layer, "batch_select_indices", None)
    if select is None or isinstance(layer, LinearAttentionCacheLayerMixin):  # which may select its keys alone
        select = layer.reorder_cache
    select(rows)


def compacted_order(unfinished: Tensor) -> Tensor:
    """Row order after dropping finished rows: the last unfinished rows move into the gaps. (n,) of (B,) bool."""
    staying = unfinished.nonzero().squeeze(1)
    order = torch.arange(len(staying), device=unfinished.device)
    gaps = (~unfinished[: len(staying)]).nonzero().squeeze(1)
    order[gaps] = staying[len(staying) - len(gaps) :]
    return order
