"""Python code that a model's directory brings along. Imports nothing heavy.

Consent is to content: who trusts the code of a base trusts every copy of it, and nothing that stands beside a copy.
"""

import hashlib
import json
from pathlib import Path
from typing import Any


def code_of(directory: Path) -> dict[str, str]:
    """All that could run when a model is loaded with its own code.

    Returns:
        The SHA-256 of each Python file by its path, and what each JSON file's `auto_map` refers to by file and class.
    """
    files = {file.relative_to(directory).as_posix(): file for file in sorted(directory.rglob("*.py"))}
    code = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    for file in sorted(directory.glob("*.json")):
        code |= {f"{file.name}: {name}": json.dumps(reference) for name, reference in _auto_map(file).items()}
    return code


def foreign_code(directory: Path, trusted: Path) -> list[str]:
    """What of a directory's code is not, with the same content, in the one that is trusted."""
    known = code_of(trusted)
    return [name for name, content in code_of(directory).items() if known.get(name) != content]


def _auto_map(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # nothing can be loaded by it either
        return {}
    references = found.get("auto_map") if isinstance(found, dict) else None
    return references if isinstance(references, dict) else {}
