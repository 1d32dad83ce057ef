"""Log-probabilities of tokens through the vocabulary, the widest product there is.

Logits exist for a few `positions` at once, forward and backward.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from truing.kernels.next_token import WHOLE, Vocabulary
from truing.kernels.precision import Precision

LOGIT_POSITIONS = 64
"""Positions whose logits exist at once on a CPU; changes memory and speed, not results"""
CACHED_LOGITS = 2**19
"""Logits that a processor's cache holds at once, with what is made of them"""
CACHED_POSITIONS = 8
"""Positions at least whose logits are gone through at once on a CPU, however large the vocabulary"""
DEVICE_LOGITS = 2**26
"""Logits that exist at once on a device, 256 MB in single precision: it waits for its next call unless each is large"""

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Rows (..., in), weight (out, in) and bias (out,) to (..., out), without a gradient"""


@dataclass(frozen=True)
class LogitTransform:
    """What a model does to its logits behind the vocabulary projection: cap·tanh(scale·logits / cap)."""

    scale: float = 1.0
    cap: float | None = None
    """None where they are not bounded"""

    def __call__(self, logits: Tensor) -> Tensor:
        """The model's own logits, from those that left the projection."""
        scaled = logits if self.scale == 1 else logits * self.scale
        return self.cap * torch.tanh(scaled / self.cap) if self.cap else scaled

    def times_slope_(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """In place of a `gradient` by the model's own `logits` stands that by those that left the projection."""
        if self.cap:
            gradient.mul_(1 - (logits / self.cap).square())
        return gradient if self.scale == 1 else gradient.mul_(self.scale)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tokens: Tensor,
    temperature: float,
    transform: LogitTransform,
    rows: Tensor | None = None,
    vocabulary: Vocabulary = WHOLE,
    linear: Linear = F.linear,
) -> Tensor:
    """(N,) log softmax(transform(logits) / temperature)[token], nats, with logits = hidden · weightᵀ + bias.

    hidden (N, D), weight (V, D), bias (V,), tokens (N,). Products are computed in the precision of `hidden`.
    `rows` (n, D) stand in the place of the last n of a weight that has no bias and does not learn. Of a slice of the
    `vocabulary`, weight and bias are this process's; the result and the gradient by `hidden` are those of the whole.
    """
    settings = temperature, transform, vocabulary, linear
    found: Tensor = _Logprobs.apply(hidden, weight, bias, rows, tokens, *settings)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class Positions:
    """How many positions are taken at once."""

    whole: int
    """Through the projection"""
    cached: int
    """Through what is made of their logits"""

    @classmethod
    def of(cls, device: torch.device, vocabulary: int) -> "Positions":
        """On this device, for so many tokens of a vocabulary; none where another process has all of them."""
        vocabulary = max(vocabulary, 1)
        if device.type == "cpu":
            return cls(LOGIT_POSITIONS, max(CACHED_POSITIONS, min(LOGIT_POSITIONS, CACHED_LOGITS // vocabulary)))
        most = max(LOGIT_POSITIONS, DEVICE_LOGITS // vocabulary)
        return cls(most, most)


def put_logits_of_rows(logits: Tensor, hidden: Tensor, rows: Tensor | None) -> None:
    """In place of the last n of `logits` (..., V) stand those that `rows` (n, D) give for `hidden` (..., D)."""
    if rows is not None:
        logits[..., -len(rows) :] = F.linear(hidden, rows.to(hidden.dtype))


class _Logprobs(torch.autograd.Function):
    """See `token_logprobs`.

    The slope of each log-probability by its hidden state does not depend on the loss, so it is found in the forward,
    while the logits exist: (N, D) numbers are kept instead of (N, V). Where the projection learns too, its gradient
    has the logits computed once more; where a few rows do, the slopes by their logits are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor | None,
        tokens: Tensor,
        *settings: Any,
    ) -> Tensor:
        temperature, transform, vocabulary, linear = ctx.settings = settings
        logprobs, slope = hidden.new_empty(len(tokens), dtype=_wide(hidden)), torch.empty_like(hidden)
        projection = _as(weight, hidden), _as(bias, hidden)
        row_slopes = hidden.new_empty(len(tokens), 0 if rows is None else len(rows))
        for part in slices(len(tokens), Positions.of(hidden.device, len(weight)).whole):
            logits = linear(hidden[part], *projection).to(_wide(hidden))
            put_logits_of_rows(logits, hidden[part], rows)
            logprobs[part], excess = _logprobs_and_excess(logits, tokens[part], temperature, transform, vocabulary)
            if rows is not None:
                row_slopes[part] = -excess[:, -len(rows) :]
                excess[:, -len(rows) :] = 0  # what stands there in the weight says nothing
            slope[part] = -linear(excess.to(hidden.dtype), projection[0].t(), None)
        if rows is not None:
            slope.addmm_(row_slopes, _as(rows, hidden))
        slope = vocabulary.total(slope)
        ctx.save_for_backward(slope, hidden, weight, bias, tokens, row_slopes)
        return logprobs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, hidden, weight, bias, tokens, row_slopes = ctx.saved_tensors
        temperature, transform, vocabulary, linear = ctx.settings
        gradient = gradients[0][:, None].to(hidden.dtype)
        of_hidden = gradient * slope
        wide = _wide(weight)  # a sum of many parts, which a narrower one would stop taking in
        of_weight = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias, dtype=wide) if ctx.needs_input_grad[2] else None
        if of_weight is not None:
            projection = _as(weight, hidden), _as(bias, hidden)
            for part in slices(len(tokens), Positions.of(hidden.device, len(weight)).whole):
                logits = linear(hidden[part], *projection).to(_wide(hidden))
                _, excess = _logprobs_and_excess(logits, tokens[part], temperature, transform, vocabulary)
                residual = excess.to(hidden.dtype).mul_(-gradient[part])
                if residual.dtype == wide:
                    of_weight.addmm_(residual.t(), hidden[part])
                else:
                    of_weight += residual.t() @ hidden[part]
                if of_bias is not None:
                    of_bias += residual.sum(0, dtype=wide)
        of_rows = (gradient * row_slopes).t() @ hidden if ctx.needs_input_grad[3] else None
        return of_hidden, _as(of_weight, weight), _as(of_bias, bias), of_rows, *[None] * (1 + len(ctx.settings))


def _logprobs_and_excess(
    logits: Tensor, tokens: Tensor, temperature: float, transform: LogitTransform, vocabulary: Vocabulary
) -> tuple[Tensor, Tensor]:
    """(n,) log π(token), and (n, V) its slope by the logits as they left the projection, with the sign turned.

    The logits are not needed any more: a processor goes through as many at once as its cache holds, and writes there.
    """
    count, settings = Positions.of(logits.device, logits.shape[-1]).cached, (temperature, transform, vocabulary)
    if len(tokens) <= count:
        return _at_once(logits, tokens, *settings)
    found = []
    for part in slices(len(tokens), count):
        logprobs, logits[part] = _at_once(logits[part], tokens[part], *settings)
        found.append(logprobs)
    return torch.cat(found), logits


def _at_once(
    logits: Tensor, tokens: Tensor, temperature: float, transform: LogitTransform, vocabulary: Vocabulary
) -> tuple[Tensor, Tensor]:
    """π less 1 at the token is what the slope of −log π by its logits is, before temperature and transform."""
    own = transform(logits)
    logprobs = vocabulary.log_softmax(own if temperature == 1 else own / temperature)
    found = vocabulary.of_tokens(logprobs, tokens)
    excess = logprobs.exp_()
    vocabulary.subtract_one_(excess, tokens)
    transform.times_slope_(excess, own)
    return found, excess if temperature == 1 else excess.div_(temperature)


def slices(total: int, count: int) -> Iterator[slice]:
    """Of `total` positions, `count` at once."""
    return (slice(start, start + count) for start in range(0, total, count))


def _wide(like: Tensor) -> torch.dtype:
    return torch.promote_types(like.dtype, Precision.reductions)


def _as(tensor: Tensor | None, like: Tensor) -> Any:
    return None if tensor is None else tensor.to(like.dtype)
