"""What is measured."""

from typing import Literal


def reduction(name: str) -> Literal["mean", "max"]:
    """How a metric of micro-batches becomes one of their batch."""
    return "max" if name == "ratio_max_deviation" else "mean"
