"""From hidden states to what is said of tokens. Logits exist for counted response tokens only."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from truing.kernels.vocabulary import Positions, slices
from truing.models.roles import Role


def logprobs_of(role: Role, hidden: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """(N,) log π(token), nats, of (N,) tokens predicted from (N, D) last hidden states."""
    projection, backend = role.projection, role.backend
    if torch.is_grad_enabled() and isinstance(projection, nn.Linear):
        states = backend.precision.cast(hidden)
        weight, bias = role.vocabulary.projection(projection)
        settings = temperature, role.transform, role.projection_rows, role.vocabulary
        return backend.token_logprobs(states, weight, bias, tokens, *settings)
    parts = _parts(hidden, tokens, count=_positions(role, hidden).whole)
    return torch.cat([role.vocabulary.token_logprobs(role.logits(h), t, temperature) for h, t in parts])


def distribution_of(
    policy: Role, reference: Role, hidden: Tensor, ref_hidden: Tensor, tokens: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference log-probability of (N,) tokens, exact KL(π‖ref) and entropy of π, each (N,) nats, no gradient.

    hidden, ref_hidden (N, D): the last hidden states of policy and reference before each token.
    """
    found, positions = [], _positions(policy, hidden)
    for own, other, token in _parts(hidden, ref_hidden, tokens, count=positions.whole):
        both = (tempered(role.logits(h), temperature) for role, h in ((policy, own), (reference, other)))
        for logits, ref_logits, drawn in _parts(*both, token, count=positions.cached):
            found.append(policy.vocabulary.distribution(logits, ref_logits, drawn))
    ref_logprobs, kl, entropy = (torch.cat(column) for column in zip(*found, strict=True))
    return ref_logprobs, kl, entropy


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """The logits at a temperature, which is the sampler's everywhere."""
    return logits if temperature == 1 else logits / temperature


def _positions(role: Role, hidden: Tensor) -> Positions:
    weight: Tensor = role.projection.weight  # type: ignore[assignment]
    return Positions.of(hidden.device, len(weight))


def _parts(*columns: Tensor, count: int) -> Iterator[tuple[Tensor, ...]]:
    return (tuple(column[part] for column in columns) for part in slices(len(columns[0]), count))
