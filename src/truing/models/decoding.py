"""Reading prompts, and then one token a row and step, with what a model remembers of the tokens before."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from truing.core.transfer import integers
from truing.kernels.backend import DecodeStep
from truing.kernels.cache import (
    can_be_joined,
    compacted_order,
    even_room,
    joined,
    make_room,
    rows_to_keep,
    select_rows,
)
from truing.kernels.vocabulary import slices
from truing.models.roles import Role


class Decoder:
    """Rows that a role reads side by side, each behind its own prompt.

    Equal prompts are read once. A model without a key-value cache reads every row whole at each step.
    """

    state: Tensor
    """(B, D) last hidden state of each row's last token"""
    prefix_states: Tensor | None = None
    """(B, S, D) what left the frozen prefix for the tokens that were just read, prompts padded on the left"""
    _cache: Any = None

    def __init__(
        self,
        role: Role,
        prompts: Sequence[Sequence[int]],
        pad: int,
        new_tokens: int,
        step: DecodeStep | None = None,
        read_at_once: int | None = None,
    ) -> None:
        """Reads the prompts, each at least one token; `new_tokens` more than they have are read at most.

        All is read by `step` where there is one, prompts too where it begins with them; else by the model's own layers.
        A device reads prompts of at most `read_at_once` tokens together: what layers compute of them takes its memory.
        """
        self._role, self._step, self._device = role, step, role.model.device
        distinct = list(dict.fromkeys(map(tuple, prompts)))
        self._tokens, self._mask = left_padded(distinct, pad, self._device)
        if step and step.begin and role.backend.caches:
            self.state, self.prefix_states, self._cache = step.begin(self._tokens, self._mask)
        else:
            self._read_prompts(None if self._device.type == "cpu" else read_at_once)
        places = {prompt: place for place, prompt in enumerate(distinct)}
        rows = integers([places[tuple(prompt)] for prompt in prompts], self._device)
        self._read = self._tokens.shape[1]
        self._place = integers([self._read], self._device) if step and step.is_static else None
        room = self._read + new_tokens if self._place is None else even_room(self._read + new_tokens)
        if self._cache is not None:
            make_room(self._cache, rows, room, self._place)
        self._mask = F.pad(self._mask[rows], (0, room - self._read))
        self._tokens, self.state = self._tokens[rows], self.state[rows]
        self.prefix_states = None if self.prefix_states is None else self.prefix_states[rows]

    def keep(self, unfinished: Sequence[bool]) -> list[int]:
        """Lets rows go that are not `unfinished` (B,); returns (n,) which row stands in each place now.

        A static step has some of them stay, which are no harm.
        """
        room = sum(unfinished)
        order = compacted_order(unfinished, room if self._place is None else rows_to_keep(len(unfinished), room))
        if len(order) < len(unfinished):
            rows = integers(order, self._device)
            self._mask, self._tokens = self._mask[rows], self._tokens[rows]
            if self._cache is not None:
                select_rows(self._cache, order, self._device)
        return order

    def read(self, tokens: Tensor) -> None:
        """One more token (B,) of each row."""
        self._mask[:, self._read] = 1
        self._read += 1
        mask = self._mask[:, : self._read] if self._place is None else self._mask
        if self._cache is None:
            self._tokens = torch.cat([self._tokens, tokens[:, None]], dim=1)
            self._forward(self._tokens, mask)
            self.prefix_states = None if self.prefix_states is None else self.prefix_states[:, -1:]
        elif self._step is None:
            self._forward(tokens[:, None], mask)
        else:
            self.state, prefix_states = self._step(tokens, mask, self._cache)
            self.prefix_states = None if prefix_states is None else prefix_states[:, None]
            if self._place is not None:
                self._place += 1

    def _read_prompts(self, at_once: int | None) -> None:
        """So many tokens at once, where what the model remembers of some rows can be put beside that of others."""
        rows, width = self._tokens.shape
        count = max(1, (at_once or rows * width) // width)
        read: list[tuple[Tensor, Tensor | None, Any]] = []
        for part in slices(rows, count):
            self._cache = None
            self._forward(self._tokens[part], self._mask[part])
            if count >= rows:
                return
            if not can_be_joined(self._cache):
                self._read_prompts(None)
                return
            read.append((self.state.clone(), self.prefix_states, self._cache))  # a view would keep all that was read
        states, prefix_states, caches = zip(*read, strict=True)
        self.state, self._cache = torch.cat(states), joined(caches)
        self.prefix_states = None if self.prefix_states is None else torch.cat(prefix_states)

    def _forward(self, tokens: Tensor, mask: Tensor) -> None:
        with ExitStack() as recording:
            states = recording.enter_context(self._role.prefix.capture()) if self._role.prefix else []
            output = self._role.forward(tokens, mask, cache=self._cache, use_cache=self._role.backend.caches)
        self.prefix_states = states[0] if states else None
        self.state, self._cache = output.last_hidden_state[:, -1], getattr(output, "past_key_values", None)


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, P) tokens and (B, P) mask with every prompt ending in the last column."""
    longest = max(map(len, prompts))
    blanks = [longest - len(prompt) for prompt in prompts]
    tokens = [[pad] * blank + list(prompt) for blank, prompt in zip(blanks, prompts, strict=True)]
    mask = [[0] * blank + [1] * (longest - blank) for blank in blanks]
    return integers(tokens, device), integers(mask, device)
