"""Which files of a directory hold weights that can be read without running code. Imports nothing heavy."""

from pathlib import Path

from truing.errors import ModelError

UNSAFE = {".bin", ".pt", ".pth"}
"""Formats that hold Python objects"""


def unsafe_weights(directory: Path) -> str | None:
    """The first file in a format whose reading can run code; None where there is none, or safetensors beside it."""
    unsafe = sorted(file.name for file in directory.glob("*") if file.suffix in UNSAFE)
    return unsafe[0] if unsafe and not any(directory.glob("*.safetensors")) else None


def refuse_unsafe_weights(directory: Path) -> None:
    """ModelError if a directory has `.bin`, `.pt` or `.pth` weights and no safetensors."""
    unsafe = unsafe_weights(directory)
    if unsafe is not None:
        raise ModelError(
            f"its weights are in {unsafe}, a format whose reading can run code.",
            where=str(directory),
            mend="Convert them to safetensors first.",
        )
