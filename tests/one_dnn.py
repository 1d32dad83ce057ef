"""Has oneDNN compute what is too small to gain by it, as the models of the tests are."""

from contextvars import ContextVar

import pytest

from truing.kernels.cpu import linear, products
from truing.kernels.cpu.products import Products

ALL = Products(1, 1, 1, 1)


def computes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of any number of rows with a weight of any size."""
    monkeypatch.setattr(linear, "MIN_WEIGHTS", 1)
    monkeypatch.setattr(linear, "MIN_PACKED", 1)
    monkeypatch.setattr(products, "_in_force", ContextVar("products", default=ALL))
