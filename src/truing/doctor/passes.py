"""What a role does with some tokens, watched: the project's own code, on tensors without numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from truing.doctor.tally import Cost, Tally
from truing.kernels.packed_rows import PackedRows
from truing.kernels.vocabulary import LOGIT_POSITIONS
from truing.models.logprobs import distribution_of, logprobs_of
from truing.models.roles import Role
from truing.rollout.local import draw_tokens

Pass = Callable[[Role, Tally], Cost]
"""Something that a role does, watched"""


@dataclass(frozen=True)
class Shape:
    """Some sequences as a rectangle, or laid end to end."""

    rows: int
    length: int
    """Tokens of the longest row, prompt and response"""
    counted: int
    """Response tokens of all rows"""
    joined: int | None = None
    """Tokens of all rows, where they are laid end to end"""

    @property
    def area(self) -> int:
        """Tokens that are computed, padding included."""
        return self.rows * self.length if self.joined is None else self.joined

    @property
    def lengths(self) -> list[int]:
        """Of rows laid end to end, about equally long, but no two neighbours alike: each is looked at by itself."""
        even = self.area // self.rows
        lengths = [max(1, even + (1 if row % 2 else -1)) for row in range(self.rows - 1)]
        return [*lengths, max(1, self.area - sum(lengths))]


@torch.no_grad()
def read(role: Role, tally: Tally, shapes: Sequence[Shape]) -> Cost:
    """Forward over each shape in turn, without gradients and without logits."""
    start = tally.live
    for shape in shapes:
        _hidden(role, shape)
    return _cost(tally, start, start)


@torch.no_grad()
def compare(role: Role, tally: Tally) -> Cost:
    """Exact KL, entropy and log-probabilities of two policies, from as many hidden states as have logits at once."""
    start, hidden = tally.live, _states(role, LOGIT_POSITIONS)
    distribution_of(role, role, hidden, hidden, torch.zeros(LOGIT_POSITIONS, dtype=torch.long), 1.0)
    return _cost(tally, start, start)


@torch.no_grad()
def draw(role: Role, tally: Tally, rows: int) -> Cost:
    """The next token of each row and its log-probability, from last hidden states."""
    start, hidden = tally.live, _states(role, rows)
    draw_tokens(role.logits(hidden), torch.zeros(rows))
    return _cost(tally, start, start)


def learn(role: Role, tally: Tally, shapes: Sequence[Shape], head: bool) -> Cost:
    """Forward over each shape in turn, then one backward; gradients of weights are not in it.

    head: whether a scalar head is learnt from, and not log-probabilities.
    """
    for weight in role.parameters():
        if weight.requires_grad:  # a gradient that builds up while activations leave would hide in the peak
            weight.grad = torch.zeros_like(weight)
    start, outputs = tally.live, []
    for shape in shapes:
        hidden = _hidden(role, shape)
        if head:
            outputs.append(role.scalar(hidden).sum())
        else:
            counted = torch.zeros(shape.counted, dtype=torch.long)
            outputs.append(logprobs_of(role, hidden.flatten(0, 1)[: shape.counted], counted).sum())
        del hidden
    kept = tally.live
    torch.stack(outputs).sum().backward()  # type: ignore[no-untyped-call]
    return _cost(tally, start, kept)


def _hidden(role: Role, shape: Shape) -> Tensor:
    if shape.joined is not None:
        width = max(shape.lengths)
        tokens = torch.zeros(shape.rows, width, dtype=torch.long)
        role.select()
        return PackedRows(shape.lengths, width, tokens.device).hidden(role.model, tokens, role.skip_prefix)
    tokens = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    states: Tensor = role.forward(tokens, torch.ones_like(tokens)).last_hidden_state
    return states


def _states(role: Role, count: int) -> Tensor:
    # Not what memory happens to hold: of numbers too small to be normal, products take a hundred times as long.
    return torch.zeros(count, int(role.model.config.hidden_size), dtype=role.model.dtype)


def _cost(tally: Tally, start: int, kept: int) -> Cost:
    return Cost(kept - start, tally.peak - kept, tally.compiled)
