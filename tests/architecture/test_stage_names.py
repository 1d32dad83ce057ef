"""A stage is known by its entry in the registry: nobody else asks for one by its name."""

import ast
from pathlib import Path

import pytest
from architecture.sources import FILES, named, tree

from truing.config.stages import STAGES

REGISTRY = {"config/stages.py", "config/algorithms.py", "config/moved.py"}
"""Entries, settings, and keys of old"""


@pytest.mark.parametrize("path", [path for path in FILES if named(path) not in REGISTRY], ids=named)
def test_no_stage_is_named_outside_the_registry_and_its_own_file(path: Path) -> None:
    others = STAGES.keys() - {name for name in STAGES if named(path) == f"stages/{name}.py"}
    constants = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)]
    assert [f"{named(path)}:{node.lineno} has {node.value}" for node in constants if node.value in others] == []
