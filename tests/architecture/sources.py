"""The source of truing as syntax trees."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "truing"
FILES = sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    """`data/rows.py`, as a test's name has it."""
    return path.relative_to(PACKAGE).as_posix()


def module(path: Path) -> str:
    """`data.rows`; `data` for its `__init__.py`."""
    return named(path).removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
