"""From hidden states to what is said of tokens, through the vocabulary: the widest products there are.

Logits exist for counted response tokens only, and for `LOGIT_POSITIONS` of them at once, forward and backward.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from truing.functional import kl_exact, token_entropy, token_logprobs
from truing.kernels.linear import OneDnnLinear, one_dnn, suits
from truing.models.roles import Role

LOGIT_POSITIONS = 64
"""Positions whose logits exist at once; changes memory and speed, not results"""
CACHED_POSITIONS = 8
"""Positions whose logits, and what is made of them, a processor's cache holds at once"""


def logprobs_of(role: Role, hidden: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """(N,) log π(token), nats, of (N,) tokens predicted from (N, D) last hidden states."""
    projection = role.projection
    if torch.is_grad_enabled() and isinstance(projection, nn.Linear):
        role.select()
        laid_out = projection.laid_out if isinstance(projection, OneDnnLinear) else projection.weight
        found: Tensor = _Logprobs.apply(  # type: ignore[no-untyped-call]
            hidden, projection.weight, projection.bias, tokens, temperature, role.softcap, laid_out
        )
        return found
    parts = [token_logprobs(role.logits(h), t, temperature=temperature) for h, t in _parts(hidden, tokens)]
    return torch.cat(parts)


def distribution_of(
    policy: Role, reference: Role, hidden: Tensor, ref_hidden: Tensor, tokens: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference log-probability of (N,) tokens, exact KL(π‖ref) and entropy of π, each (N,) nats, no gradient.

    hidden, ref_hidden (N, D): the last hidden states of policy and reference before each token.
    """
    figures = []
    for own, other, token in _parts(hidden, ref_hidden, tokens):
        both = (_tempered(role.logits(h), temperature) for role, h in ((policy, own), (reference, other)))
        for logits, ref_logits, drawn in _parts(*both, token, count=CACHED_POSITIONS):
            figures.append((token_logprobs(ref_logits, drawn), kl_exact(logits, ref_logits), token_entropy(logits)))
    ref_logprobs, kl, entropy = (torch.cat(column) for column in zip(*figures, strict=True))
    return ref_logprobs, kl, entropy


class _Logprobs(torch.autograd.Function):
    """log softmax(logits / temperature)[token], with logits = cap·tanh(projection / cap) where the model caps them.

    The slope of each log-probability by its hidden state does not depend on the loss, so it is found in the forward,
    while the logits exist: (N, D) numbers are kept instead of (N, V). Where the projection learns too, its gradient
    has the logits computed once more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        temperature: float,
        cap: float | None,
        laid_out: Tensor,
    ) -> Tensor:
        logprobs, slope = hidden.new_empty(len(tokens), dtype=_wide(hidden)), torch.empty_like(hidden)
        for part in _slices(len(tokens)):
            logits = _logits(hidden[part], laid_out, bias)
            logprobs[part] = _become_residuals(logits, tokens[part], temperature, cap)
            slope[part] = _product(logits.to(hidden.dtype), weight.t())
        ctx.save_for_backward(slope, hidden, weight, bias, tokens)
        ctx.settings = temperature, cap
        return logprobs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, hidden, weight, bias, tokens = ctx.saved_tensors
        gradient = gradients[0][:, None].to(hidden.dtype)
        of_hidden = gradient * slope
        wide = _wide(weight)  # a sum of many parts, which a narrower one would stop taking in
        of_weight = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias, dtype=wide) if ctx.needs_input_grad[2] else None
        if of_weight is not None:
            for part in _slices(len(tokens)):
                logits = _logits(hidden[part], weight, bias)
                _become_residuals(logits, tokens[part], *ctx.settings)
                residual = logits.to(hidden.dtype).mul_(gradient[part])
                if residual.dtype == wide:
                    of_weight.addmm_(residual.t(), hidden[part])
                else:
                    of_weight += residual.t() @ hidden[part]
                if of_bias is not None:
                    of_bias += residual.sum(0, dtype=wide)
        return of_hidden, _as(of_weight, weight), _as(of_bias, bias), None, None, None, None


def _become_residuals(logits: Tensor, tokens: Tensor, temperature: float, cap: float | None) -> Tensor:
    """(n,) log π(token); in place of the (n, V) logits stand their slopes afterwards."""
    found = []
    for part in _slices(len(tokens), CACHED_POSITIONS):
        logprobs, logits[part] = _logprobs_and_residual(logits[part], tokens[part], temperature, cap)
        found.append(logprobs)
    return torch.cat(found)


def _logprobs_and_residual(
    logits: Tensor, tokens: Tensor, temperature: float, cap: float | None
) -> tuple[Tensor, Tensor]:
    """(n,) log π(token), and (n, V) its slope by the logits as they left the projection."""
    capped = cap * torch.tanh(logits / cap) if cap else logits
    logprobs = torch.log_softmax(_tempered(capped, temperature), dim=-1)
    found = logprobs.gather(1, tokens[:, None])
    residual = logprobs.exp_().neg_()
    residual.scatter_add_(1, tokens[:, None], torch.ones_like(found))
    if cap:
        residual.mul_(1 - (capped / cap).square())
    return found.squeeze(1), residual if temperature == 1 else residual.div_(temperature)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _product(hidden, weight, bias).to(_wide(hidden))


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return one_dnn(rows, weight, bias) if suits(weight) and rows.dtype == weight.dtype else F.linear(rows, weight, bias)


def _wide(hidden: Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1 else logits / temperature


def _as(gradient: Tensor | None, of: Tensor) -> Tensor | None:
    return None if gradient is None else gradient.to(of.dtype)


def _slices(total: int, count: int = LOGIT_POSITIONS) -> Iterator[slice]:
    return (slice(start, start + count) for start in range(0, total, count))


def _parts(*columns: Tensor, count: int = LOGIT_POSITIONS) -> Iterator[tuple[Tensor, ...]]:
    return (tuple(column[part] for column in columns) for part in _slices(len(columns[0]), count))
