"""What a role does with some tokens, watched: the project's own code, on tensors without numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from truing.doctor.tally import Cost, Tally
from truing.models.flat import Flat
from truing.models.roles import Role
from truing.models.sampler import draw_tokens
from truing.models.vocabulary import LOGIT_POSITIONS, figures_of, logprobs_of

Pass = Callable[[Role, Tally], Cost]
"""Something that a role does, watched"""


@dataclass(frozen=True)
class Shape:
    """Some sequences as a rectangle."""

    rows: int
    length: int
    """Tokens of the longest row, prompt and response"""
    counted: int
    """Response tokens of all rows"""

    @property
    def area(self) -> int:
        """Tokens that are computed, padding included."""
        return self.rows * self.length


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
    figures_of(role, role, hidden, hidden, torch.zeros(LOGIT_POSITIONS, dtype=torch.long), 1.0)
    return _cost(tally, start, start)


@torch.no_grad()
def draw(role: Role, tally: Tally, rows: int) -> Cost:
    """The next token of each row and its log-probability, from last hidden states."""
    start, hidden = tally.live, _states(role, rows)
    draw_tokens(role.logits(hidden), torch.empty(rows))
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
    tokens = torch.zeros(shape.rows, shape.length, dtype=torch.long)
    if role.reads_flat and shape.rows > 1:
        lengths = [max(1, shape.length - row % 2) for row in range(shape.rows)]  # no two neighbours alike
        return role.hidden_flat(tokens, Flat(lengths, shape.length, tokens.device))
    states: Tensor = role.forward(tokens, torch.ones_like(tokens)).last_hidden_state
    return states


def _states(role: Role, count: int) -> Tensor:
    return torch.empty(count, int(role.model.config.hidden_size), dtype=role.model.dtype)


def _cost(tally: Tally, start: int, kept: int) -> Cost:
    return Cost(kept - start, tally.peak - kept, tally.compiled)
