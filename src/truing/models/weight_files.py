"""Which files of a model's directory can be read, without running code. Imports nothing heavy."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from truing.core.errors import ModelError, first_line

if TYPE_CHECKING:
    from torch import Tensor

UNSAFE = {".bin", ".pt", ".pth"}
"""Formats that hold Python objects"""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Which of several files each weight is in; read where there is no file with all of them"""
ADAPTER = "adapter_config.json"
UNREADABLE = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a file of weights, or of their names, may raise"""
POINTER = b"version https://git-lfs"
"""How the note begins that Git LFS leaves in place of a file"""


def unsafe_weights(directory: Path) -> str | None:
    """The first file in a format whose reading can run code; None where there is none, or safetensors beside it."""
    unsafe = sorted(file.name for file in directory.glob("*") if file.suffix in UNSAFE)
    return unsafe[0] if unsafe and not any(directory.glob("*.safetensors")) else None


def refuse_unsafe_weights(directory: Path) -> None:
    """ModelError if a directory has `.bin`, `.pt` or `.pth` weights and no safetensors."""
    unsafe = unsafe_weights(directory)
    if unsafe is not None:
        what = f"its weights are in {unsafe}, a format whose reading can run code."
        hint = "Convert them to safetensors first."
        raise ModelError(what, code="model/unsafe-weights", where=str(directory), hint=hint)


def refuse_embedded_adapter(directory: Path) -> None:
    """ModelError if an adapter stands in a model's directory: the library would load it, or the model that it names."""
    if (directory / ADAPTER).exists():
        what = f"{ADAPTER} stands in it, so that an adapter, or the model that it names, would be loaded unsaid."
        hint = "Merge the adapter into the model first, or take the file away."
        raise ModelError(what, code="model/embedded-adapter", where=str(directory), hint=hint)


def unreadable_weights(directory: Path) -> Iterator[tuple[str, str]]:
    """Each safetensors file that a model would be loaded from and could not be, and why.

    Only headers are read: they say how long a file has to be.
    """
    try:
        names = _names(directory)
    except UNREADABLE as error:
        yield INDEX, first_line(error)
        return
    for name in names:
        try:
            with safe_open(directory / name, framework="numpy"):
                pass
        except UNREADABLE as error:
            yield name, "it is a Git LFS pointer" if _is_pointer(directory / name) else first_line(error)


def last_rows(directory: Path, paths: Sequence[str], first: int, width: int) -> "Tensor | None":
    """The rows from `first` on of a matrix of this `width` that a model's files have: (n, width), as they are there.

    It is the one whose name ends as the first of `paths` does for which there is one: files may hold the model inside
    another, or the inner one alone, so the last two parts of a name decide. None where several end so, or none does, or
    where a file cannot be read.
    """
    try:
        files: list[Any] = [safe_open(directory / name, framework="pt") for name in _names(directory)]
    except UNREADABLE:
        return None
    for ending in (path.split(".")[-2:] for path in paths):
        slices = [file.get_slice(key) for file in files for key in [*file.keys()] if key.split(".")[-2:] == ending]
        found = [one for one in slices if len(one.get_shape()) == 2 and one.get_shape()[1] == width]
        if found:
            rows: Tensor = found[0][first:]
            return rows if len(found) == 1 else None
    return None


def weights_in(directory: Path) -> Iterator[tuple[str, "Tensor"]]:
    """The weights in a model's files, by the names that these give them, one read after the other."""
    for name in _names(directory):
        with safe_open(directory / name, framework="pt") as file:
            yield from ((key, file.get_tensor(key)) for key in file.keys())  # noqa: SIM118  # it is no mapping


def read_settings(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # nested a thousand times deep
        return None
    return found if isinstance(found, dict) else None


def _names(directory: Path) -> list[str]:
    """As transformers chooses; where it would find nothing, all that there are."""
    if (directory / WEIGHTS).is_file():
        return [WEIGHTS]
    if (directory / INDEX).is_file():
        return sorted(set(map(str, json.loads((directory / INDEX).read_bytes())["weight_map"].values())))
    return sorted(file.name for file in directory.glob("*.safetensors"))


def _is_pointer(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(len(POINTER)) == POINTER
    except OSError:
        return False
