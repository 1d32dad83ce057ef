"""truing: align a language model with human preferences, and show that it can be trusted.

In Python: `truing.run(recipe, ...)` runs a recipe, `truing.load(run)` opens what came of it. See docs/python.md.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = ["load", "run"]


def __getattr__(name: str) -> Any:
    """`run` and `load`, fetched once they are asked for: importing truing is quick."""
    if name in __all__:
        return getattr(import_module("truing.notebook"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
