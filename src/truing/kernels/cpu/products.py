"""Which library computes a product: oneDNN or PyTorch's own, by how many rows meet how large a weight.

Processors differ in it (docs/performance.md has the figures), so it is measured. What is in force inside `computed_by`
decides, and no result depends on it beyond rounding.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL, LARGE = 1 << 14, 1 << 20
"""Weights of the two sizes that are measured; between them, the nearer one decides"""
MEASURED_ROWS = (1, 8, 64, 256)
DECODED_ROWS = 8
"""Rows that stand for those of a decoding step"""
REPEATS, FEWEST, SECONDS = 20, 3, 0.1
"""Turns of which the fastest counts, at most; no more than a few once they have taken so long"""
TRIES = 5
"""Measurements at most, for two in a row that say the same"""
CLEARLY = 1.05
"""As many times the time of PyTorch's own product is more than its noise"""
MEASUREMENT = 2
"""Raised whenever what `measure_products` finds means another thing: other sizes, ways, or layout of packed weights"""


@dataclass(frozen=True)
class Products:
    """From how many rows on oneDNN computes a product; None where it never does."""

    small: int | None = 64
    """With a weight of about `SMALL` numbers, as it lies"""
    large: int | None = 1
    """With one of about `LARGE` numbers or more"""
    small_packed: int | None = 64
    """The same with a weight that was laid out for it beforehand"""
    large_packed: int | None = 1

    def by_one_dnn(self, rows: int, weights: int, packed: bool = False) -> bool:
        """Whether oneDNN computes that of so many rows and a weight of so many numbers."""
        if weights * weights < SMALL * LARGE:
            least = self.small_packed if packed else self.small
        else:
            least = self.large_packed if packed else self.large
        return least is not None and rows >= least


USUAL = Products()
_in_force: ContextVar[Products] = ContextVar("products", default=USUAL)


def products_in_force() -> Products:
    """By which products are computed now."""
    return _in_force.get()


@contextmanager
def computed_by(products: Products) -> Iterator[None]:
    """Inside, these decide."""
    before = _in_force.set(products)
    try:
        yield
    finally:
        _in_force.reset(before)


def measure_products() -> Products:
    """What this machine is fastest by, on the threads that torch has now.

    It is measured until it comes out twice in a row, or `TRIES` times: what is found is kept for good, and other work
    that comes and goes may make either way look slow. Takes half of a second, a few where cores are busy.
    """
    found = _measured()
    for _ in range(TRIES - 1):
        before, found = found, _measured()
        if found == before:
            break
    return found


@torch.no_grad()
def _measured() -> Products:
    found: dict[str, int | None] = {}
    for name, weights in (("small", SMALL), ("large", LARGE)):
        side = round(weights**0.5)
        weight = torch.ones(side, side)
        ways = {
            "plain": partial(F.linear, weight=weight),
            name: partial(one_dnn, weight=weight),
            f"{name}_packed": partial(one_dnn, weight=reordered(weight)),
        }
        seconds = {rows: _seconds(ways, torch.ones(rows, side)) for rows in MEASURED_ROWS}
        for way in (name, f"{name}_packed"):
            found[way] = crossing({rows: (took["plain"], took[way]) for rows, took in seconds.items()})
    return Products(**found)


def crossing(seconds: Mapping[int, tuple[float, float]]) -> int | None:
    """The rows from which on, as far as was measured, the second of two ways is not clearly slower than the first."""
    least = None
    for rows, (one, other) in sorted(seconds.items(), reverse=True):
        if other > CLEARLY * one:
            break
        least = rows
    return least


def _seconds(ways: Mapping[str, Callable[[Tensor], Tensor]], rows: Tensor) -> dict[str, float]:
    """Of each way, the fastest of some turns. The first, in which kernels are made, does not count."""
    took: dict[str, float] = {}
    began = time.perf_counter()
    for turn in range(REPEATS + 1):
        if turn > FEWEST and time.perf_counter() > began + SECONDS:
            break
        for name, way in ways.items():
            start = time.perf_counter()
            way(rows)
            if turn:
                took[name] = min(took.get(name, float("inf")), time.perf_counter() - start)
    return took


def by_one_dnn(rows: Tensor) -> bool:
    """Whether it computes with such numbers here. A model on the meta device is one that will be on a CPU."""
    return rows.dtype == torch.float32 and rows.device.type in ("cpu", "meta")


def one_dnn(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Rows (..., in) · weightᵀ (out, in) + bias, without a gradient. Either may lie transposed in memory."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")
    return product


def one_dnn_added(rows: Tensor, weight: Tensor, bias: Tensor | None, to: Tensor) -> Tensor:
    """`one_dnn` of rows (..., in), and `to` (..., out), added while it is computed."""
    # By its overload: without it, the call is first tried as that of `one_dnn`, which costs as much as a small product.
    added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, to, weight, bias, "add")
    return added


def reordered(weight: Tensor) -> Tensor:
    """A copy of a weight, laid out for products of few rows."""
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, DECODED_ROWS)
    return copy


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None, packed: Tensor | None = None) -> Tensor:
    """`one_dnn` or PyTorch's own product, by what is in force; `packed` is a copy of the weight, where there is one."""
    if products_in_force().by_one_dnn(rows.shape[:-1].numel(), weight.numel(), packed is not None):
        return one_dnn(rows, weight if packed is None else packed, bias)
    return F.linear(rows, weight, bias)
