"""A stage is known by its entry in the registry: nobody else asks for one by its name."""

import ast
from pathlib import Path

from architecture.sources import named

from truing.config.stages import STAGES

REGISTRY = {"config/stages.py", "config/algorithms.py", "config/moved.py"}
"""Entries, settings, and keys of old"""


def test_no_stage_is_named_outside_the_registry_and_its_own_file(trees: dict[Path, ast.Module]) -> None:
    for path, file in ((path, file) for path, file in trees.items() if named(path) not in REGISTRY):
        others = STAGES.keys() - {name for name in STAGES if named(path) == f"stages/{name}.py"}
        constants = [node for node in ast.walk(file) if isinstance(node, ast.Constant)]
        assert [f"{named(path)}:{node.lineno} has {node.value}" for node in constants if node.value in others] == []
