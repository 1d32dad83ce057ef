"""How long files and functions have become: figures to look at, not a test."""

import ast
from collections.abc import Iterator

from architecture.sources import FILES, named, tree

LONG_FILE, LONG_FUNCTION = 300, 60


def length_report() -> Iterator[str]:
    """The longest file and function, and all that ask for the idea they are missing."""
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    functions = {
        f"{named(path)} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
    }
    for kind, sizes, limit in (("files", lines, LONG_FILE), ("functions", functions, LONG_FUNCTION)):
        longest = max(sizes, key=lambda name: sizes[name])
        yield f"{len(sizes)} {kind}, {sum(sizes.values()) // len(sizes)} lines each; {longest} has {sizes[longest]}"
        yield from (f"  over {limit}: {name} has {size}" for name, size in sizes.items() if size > limit)
