"""Pretrained weights: all that a model has, or a refusal."""

import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from truing.errors import ModelError

UNSAFE = {".bin", ".pt", ".pth"}
"""Formats that hold Python objects"""
UNREADABLE = (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError, SafetensorError, struct.error)
"""What transformers and its readers raise over files that are missing, damaged or of another kind"""


def load_weights(auto: Any, path: str, device: torch.device, **options: Any) -> PreTrainedModel:
    """What `auto.from_pretrained` loads from a directory or Hub id, on a device.

    The library gives random values to weights that the files lack; here that is a ValueError.

    Raises:
        ModelError: the directory has weights in a format whose reading can run code, and no safetensors.
    """
    if "gguf_file" not in options:
        refuse_unsafe_weights(Path(path))
    model: PreTrainedModel
    model, info = auto.from_pretrained(path, output_loading_info=True, **options)
    missing = sorted(info["missing_keys"])
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"its files lack {missing[0]}{others}, which {type(model).__name__} needs")
    torch.nn.Module.to(model, device)  # in place; the library's own signature hides its return type
    return model


def refuse_unsafe_weights(directory: Path) -> None:
    """ModelError if a directory has `.bin`, `.pt` or `.pth` weights and no safetensors."""
    unsafe = sorted(file.name for file in directory.glob("*") if file.suffix in UNSAFE)
    if unsafe and not any(directory.glob("*.safetensors")):
        raise ModelError(
            f"its weights are in {unsafe[0]}, a format whose reading can run code.",
            where=str(directory),
            mend="Convert them to safetensors first.",
        )


def reason_of(error: Exception) -> str:
    """The first line of the library's complaint, for one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
