"""The source of truing, parsed once for all rules of a module."""

import ast
from pathlib import Path

import pytest
from architecture.sources import FILES, tree


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    """Each file's syntax tree. A rule names every place that breaks it, so it need not be a test of each file."""
    return {path: tree(path) for path in FILES}
