"""Products without a gradient, of whatever device: float32 on a CPU by `cpu.products`, all others by PyTorch's own.

An adapter beside a weight is added in place, to what is ours to write over.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from truing.kernels.cpu.products import by_one_dnn, one_dnn, one_dnn_added, products_in_force

NARROW_ROWS = 64
"""Rows below which a narrow product costs less than calling oneDNN"""
TALL = 2
"""Times as many rows as columns from which on an adapter is merged into a copy of the weight, for each product anew:
from about as many on, that costs less than to go through all that comes out once more"""
PLAIN_RANK = 16
"""Ranks up to which PyTorch's own product, added in place, costs less than oneDNN's sum, which writes it elsewhere"""
_merging: ContextVar[bool] = ContextVar("merging", default=False)


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Rows (N, in) · weightᵀ + bias.

    By oneDNN even with fewer than `MIN_WEIGHTS`, as narrow keys and values have: here it takes half of the time.
    """
    if _gains_by_one_dnn(rows, weight):
        return one_dnn(rows, weight, bias)
    return F.linear(rows, weight, bias)


def added_product(to: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`product`, and `to` (N, out), which stays as it is, added while that is computed."""
    if _gains_by_one_dnn(rows, weight):
        return one_dnn_added(rows, weight, bias, to)
    return (to.clone() if bias is None else to + bias).addmm_(rows, weight.t())


def add_product(to: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """The same without a bias; `to` is not needed any more."""
    if _gains_by_one_dnn(rows, weight):
        return one_dnn_added(rows, weight, None, to)
    return to.addmm_(rows, weight.t())


def narrow_product(rows: Tensor, down: Tensor) -> Tensor:
    """(..., in) to (..., r)."""
    few = rows.shape[:-1].numel() < NARROW_ROWS
    return rows @ down.t() if few or not by_one_dnn(rows) else one_dnn(rows, down)


def add_narrow(wide: Tensor, narrow: Tensor, up: Tensor) -> Tensor:
    """`wide` (..., out) + narrow (..., r) · upᵀ; `wide` is not needed any more."""
    *rows, rank = narrow.shape
    if rank <= PLAIN_RANK or prod(rows) < NARROW_ROWS or not by_one_dnn(wide):
        wide.flatten(0, -2).addmm_(narrow.flatten(0, -2), up.t())
        return wide
    return one_dnn_added(narrow, up, None, wide)


def summed_over_rows(ours: Tensor, theirs: Tensor) -> Tensor:
    """(a, b): (N, a) and (N, b) multiplied and summed over all rows, where a is small."""
    return one_dnn(ours.t(), theirs.t()) if by_one_dnn(ours) else ours.t() @ theirs


def merges(rows: Tensor) -> bool:
    """Whether an adapter is merged into a copy of the weight for one product with these rows (..., in).

    Never into one of bfloat16, which would round away what is small beside it.
    """
    return rows.dtype != torch.bfloat16 and (_merging.get() or rows.shape[:-1].numel() >= TALL * rows.shape[-1])


@contextmanager
def merging(always: bool) -> Iterator[None]:
    """Inside, adapters are `always` merged, but for those of bfloat16, so that a few rows show what many would."""
    before = _merging.set(always)
    try:
        yield
    finally:
        _merging.reset(before)


def merged(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """(out, in) a copy of the weight with scale · up · down added: of `up` (out, r) and `down` (r, in)."""
    return torch.addmm(weight, up, down, alpha=scale)


def _gains_by_one_dnn(rows: Tensor, weight: Tensor) -> bool:
    return by_one_dnn(rows) and products_in_force().by_one_dnn(len(rows), weight.numel())
