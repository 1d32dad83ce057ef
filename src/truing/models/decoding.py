"""Reading prompts, and then one token a row and step, with what a model remembers of the tokens before."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from truing.kernels.backend import DecodeStep
from truing.kernels.cache import compacted_order, make_room, select_rows
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
        self, role: Role, prompts: Sequence[Sequence[int]], pad: int, new_tokens: int, step: DecodeStep | None = None
    ) -> None:
        """Reads the prompts, each at least one token; `new_tokens` more than they have are read at most.

        Tokens behind the prompts are read by `step` where there is one, and by the model's own layers otherwise.
        """
        self._role, self._step = role, step
        distinct = list(dict.fromkeys(map(tuple, prompts)))
        self._tokens, self._mask = left_padded(distinct, pad, role.model.device)
        self._forward(self._tokens)
        places = {prompt: place for place, prompt in enumerate(distinct)}
        rows = torch.tensor([places[tuple(prompt)] for prompt in prompts], device=role.model.device)
        if self._cache is not None:
            make_room(self._cache, rows, self._tokens.shape[1] + new_tokens)
        self._mask, self._tokens, self.state = self._mask[rows], self._tokens[rows], self.state[rows]
        self.prefix_states = None if self.prefix_states is None else self.prefix_states[rows]

    def keep(self, unfinished: Tensor) -> Tensor:
        """Lets the rows go that are not `unfinished` (B,) bool; returns (n,) which row stands in each place now."""
        order = compacted_order(unfinished)
        if len(order) < len(unfinished):
            self._mask, self._tokens = self._mask[order], self._tokens[order]
            if self._cache is not None:
                select_rows(self._cache, order)
        return order

    def read(self, tokens: Tensor) -> None:
        """One more token (B,) of each row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        if self._cache is not None:
            self._read_behind(tokens)
            return
        self._tokens = torch.cat([self._tokens, tokens[:, None]], dim=1)
        self._forward(self._tokens)
        self.prefix_states = None if self.prefix_states is None else self.prefix_states[:, -1:]

    def _read_behind(self, tokens: Tensor) -> None:
        if self._step is None:
            self._forward(tokens[:, None])
            return
        self.state, prefix_states = self._step(tokens, self._mask, self._cache)
        self.prefix_states = None if prefix_states is None else prefix_states[:, None]

    def _forward(self, tokens: Tensor) -> None:
        with ExitStack() as recording:
            states = recording.enter_context(self._role.prefix.capture()) if self._role.prefix else []
            output = self._role.forward(tokens, self._mask, cache=self._cache, use_cache=self._role.backend.caches)
        self.prefix_states = states[0] if states else None
        self.state, self._cache = output.last_hidden_state[:, -1], getattr(output, "past_key_values", None)


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, P) tokens and (B, P) mask with every prompt ending in the last column."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.full((len(prompts), longest), pad, device=device)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        mask[row, longest - len(prompt) :] = 1
    return tokens, mask
