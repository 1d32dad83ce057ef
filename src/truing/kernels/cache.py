"""A key-value cache with room for every token to come, taken once.

The library's own cache is copied whole at every step. Here a step writes its own keys and values; a row that has
finished gives its place to the last one that goes on, so that the rest of the cache stays where it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from truing.core.order import in_any_order
from truing.core.transfer import integers

LEAST_ROWS = 8
"""Rows that take a device as long as one"""
EVEN = 8
"""Tokens of a static cache come in as many times this: PyTorch would copy a mask of others at each layer and step"""


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
        before, new = self.keys.shape[-2], key_states.shape[-2]
        for room, states in zip(self._of_rows, (key_states, value_states), strict=True):
            room.narrow(2, before, new).copy_(states)
        self.keys, self.values = (room.narrow(2, 0, before + new) for room in self._of_rows)
        return self.keys, self.values

    def move(self, rows: Tensor, places: Tensor, count: int) -> None:
        """Puts `rows` (n,) into `places` (n,), and lets all go but the first `count`."""
        for part in (self.keys, self.values):
            part[places] = part[rows]
        self._show(count, self.keys.shape[-2])

    def _show(self, rows: int, length: int) -> None:
        self._of_rows = tuple(room[:rows] for room in self._room)
        self.keys, self.values = (room[:, :, :length] for room in self._of_rows)


class StaticLayer(SizedLayer):  # type: ignore[no-untyped-call]
    """The same with all of the room shown, and with the place of the next token in memory: no shape changes with it."""

    def __init__(self, read: Any, rows: Tensor, capacity: int, place: Tensor) -> None:
        """As `SizedLayer`; `place` (1,) is where the next token's keys and values go.

        Keys are kept in the numbers of values. Wider ones, as autocast leaves them, it would round at each step, all.
        """
        read.keys = read.keys.to(read.values.dtype)
        super().__init__(read, rows, capacity)
        self._place = place
        for room in self._room:  # what nobody attends to counts nothing, unless it is no number
            room[:, :, read.keys.shape[-2] :] = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes the keys and values of one new token to its place and returns all of the room."""
        with in_any_order():
            for part, new in zip((self.keys, self.values), (key_states, value_states), strict=True):
                part.index_copy_(2, self._place, new.to(part.dtype))
        return self.keys, self.values

    def _show(self, rows: int, _: int) -> None:
        self.keys, self.values = (room[:rows] for room in self._room)


def _with_room(part: Tensor, rows: Tensor, capacity: int) -> Tensor:
    room = part.new_empty(len(rows), part.shape[1], capacity, part.shape[3])
    room[:, :, : part.shape[2]] = part[rows]
    return room


def make_room(cache: Any, rows: Tensor, capacity: int, place: Tensor | None = None) -> None:
    """Gives the cache that a model made of its prompts one row for each of `rows` (B,), and room for `capacity` tokens.

    With a `place` (1,), which says where the next token goes, shapes do not change from there on. Layers of another
    kind, such as sliding windows and recurrent states, and caches of a model's own keep their way.
    """
    for number, layer in enumerate(getattr(cache, "layers", [])):
        if type(layer) is DynamicLayer and layer.is_initialized:
            of_layer = layer, rows, capacity
            cache.layers[number] = SizedLayer(*of_layer) if place is None else StaticLayer(*of_layer, place)
        else:
            _select(layer, rows)
    if not hasattr(cache, "layers"):
        cache.batch_select_indices(rows)


def can_be_joined(cache: Any) -> bool:
    """Whether `joined` knows all that a model remembers in it."""
    layers = getattr(cache, "layers", [cache])
    return cache is None or all(type(layer) is DynamicLayer and layer.is_initialized for layer in layers)


def joined(caches: Sequence[Any]) -> Any:
    """One cache of the rows of several, which a model made of prompts of one width; they are not needed any more."""
    first, *others = caches
    for number, layer in enumerate(first.layers if others and first is not None else ()):
        for kind in ("keys", "values"):
            setattr(layer, kind, torch.cat([getattr(cache.layers[number], kind) for cache in caches]))
            for cache in others:
                setattr(cache.layers[number], kind, None)
    return first


def select_rows(cache: Any, order: Sequence[int], device: torch.device) -> None:
    """Row i of a cache becomes what row `order[i]` was. Rows that keep their place in a `SizedLayer` cost nothing."""
    chosen = integers(order, device)
    moved = [place for place, row in enumerate(order) if place != row]
    rows, places = integers([[order[place] for place in moved], moved], device)
    for layer in getattr(cache, "layers", [cache]):
        if isinstance(layer, SizedLayer):
            layer.move(rows, places, len(order))
        else:
            _select(layer, chosen)


def _select(layer: Any, rows: Tensor) -> None:
    """Layers with a recurrent state know this as the reordering of a beam search."""
    select = getattr(layer, "batch_select_indices", None)
    if select is None or isinstance(layer, LinearAttentionCacheLayerMixin):  # which may select its keys alone
        select = layer.reorder_cache
    select(rows)


def even_room(tokens: int) -> int:
    """For how many tokens a static cache takes room that is to hold so many."""
    return -(-tokens // EVEN) * EVEN


def rows_to_keep(rows: int, unfinished: int) -> int:
    """How many of so many rows stay, where others than powers of two are not worth a shape of their own."""
    return min(rows, max(LEAST_ROWS, 1 << (unfinished - 1).bit_length()))


def compacted_order(unfinished: Sequence[bool], room: int) -> list[int]:
    """Row order when `room` of B rows stay: those unfinished behind it move into places of finished ones. (room,)"""
    behind = (row for row in range(room, len(unfinished)) if unfinished[row])
    return [row if unfinished[row] else next(behind, row) for row in range(room)]
