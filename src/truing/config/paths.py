"""Paths in a recipe's file are meant from where the file lies."""

import os
import re
from pathlib import Path
from typing import Any

_PATHS = re.compile(
    r"(variants\.[^.]+\.)?(base\.path|data\.\w+\.path|evaluation\.judges\..+|guard\.judge\.(path|page\.guidelines|page\.controls)|rewards\.sources\.\d+\.path|llm_judges\.\w+\.rubric)"
)


def resolve_paths(value: Any, folder: Path, key: str = "") -> Any:
    """The document with each path that exists beside the recipe made absolute.

    Others are left as they are: they may be meant from the current directory, or name something on a hub. Of
    `file.py:function` the file is resolved; `package.module:function` is left to the import system.
    """
    if isinstance(value, dict):
        return {name: resolve_paths(item, folder, f"{key}.{name}" if key else name) for name, item in value.items()}
    if isinstance(value, list):
        return [resolve_paths(item, folder, f"{key}.{index}") for index, item in enumerate(value)]
    if isinstance(value, str) and _PATHS.fullmatch(key):
        file, colon, function = value.rpartition(".py:")
        return f"{_resolved(f'{file}.py', folder)}:{function}" if colon else _resolved(value, folder)
    return value


def without_place(value: Any, key: str) -> Any:
    """What a plain value says apart from where a file lies, whose content says what it is; others are as they are.

    Others may name something on a hub, or a module.
    """
    if not (isinstance(value, str) and _PATHS.fullmatch(key)):
        return value
    file, colon, function = value.rpartition(".py:")
    is_file = os.path.isabs(value) or os.path.exists(f"{file}.py" if colon else value)
    return (f"a file, {function}" if colon else "a file") if is_file and value else value


def _resolved(path: str, folder: Path) -> str:
    beside = os.path.join(folder.absolute(), os.path.expanduser(path))
    return os.path.normpath(beside) if path and os.path.exists(beside) else path
