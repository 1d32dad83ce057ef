"""Paths of the machine that a run was made on, cut down to what says something elsewhere."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any


def portable(value: Any, root: Path) -> Any:
    """The same document with absolute paths made relative to the run at `root`, or cut to their last name."""
    if isinstance(value, dict):
        return {key: portable(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item, root) for item in value]
    return _short(value, root) if isinstance(value, str) else value


def _short(text: str, root: Path) -> str:
    for path in (PurePosixPath(text), PureWindowsPath(text)):
        if path.is_absolute() and "\n" not in text:
            inside = Path(text).is_relative_to(root.absolute())
            return Path(text).relative_to(root.absolute()).as_posix() if inside else path.name or text
    return text
