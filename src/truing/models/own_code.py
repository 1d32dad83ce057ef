"""Python code that a model's directory brings along. Imports nothing heavy.

Consent is to content: who trusts the code of a base trusts every copy of it, and nothing that stands beside a copy.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def code_of(directory: Path) -> dict[str, str]:
    """All that could run when a model is loaded with its own code.

    Returns:
        The SHA-256 of each Python file by its path, and by file and key each class that the `auto_map` of a JSON file
        refers to, and each path or Hub id that a configuration names, since its code may load what is there.
    """
    files = {file.relative_to(directory).as_posix(): file for file in sorted(directory.rglob("*.py"))}
    code = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    for file in sorted(directory.glob("*.json")):
        code |= {
            f"{file.name}: {key}": text for key, text in _strings(_content(file)) if _leads_on(file.name, key, text)
        }
    return code


def foreign_code(directory: Path, trusted: Path, name: str) -> list[str]:
    """What of a directory's code is not, with the same content, in the one that is trusted.

    `name` is that of the model of which one is a copy: saved from the Hub, a copy refers to it as `name--module.Class`.
    """
    own, known = (
        {key: text.removeprefix(f"{name}--") for key, text in code_of(one).items()} for one in (directory, trusted)
    )
    return [key for key, content in own.items() if known.get(key) != content]


def code_elsewhere(directory: Path) -> list[str]:
    """References to code in other places, of those by which a language model and its tokenizer are loaded."""
    references = {key: text for key, text in code_of(directory).items() if "auto_map" in key}
    unused = re.compile(r"\.Auto(?!Config\b|ModelForCausalLM\b|Tokenizer\b)")
    return [key for key, text in references.items() if "--" in text and not unused.search(key)]


def _leads_on(file: str, key: str, text: str) -> bool:
    return "auto_map" in key.split(".") or (file.startswith("config") and "/" in text)


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # nothing can be loaded by it either
        return None


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a JSON value by its dotted key."""
    if isinstance(value, str):
        yield key, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from _strings(item, f"{key}.{name}" if key else str(name))
