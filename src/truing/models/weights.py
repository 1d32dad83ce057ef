"""Pretrained weights: all that a model has, or a refusal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from truing.core.errors import ModelError, TruingError
from truing.models.weight_files import refuse_embedded_adapter, refuse_unsafe_weights


@contextmanager
def reraise_as(refusal: Callable[[Exception], ModelError]) -> Iterator[None]:
    """What a library raises in the block over a model's files, whatever its class, as a refusal of ours.

    Readers of damaged files, tokenizers and the code that a model brings along raise what they like. Our own errors,
    and want of memory, are no fault of the files and pass.
    """
    try:
        yield
    except (TruingError, MemoryError):
        raise
    except Exception as error:
        raise refusal(error) from error


def load_weights(auto: Any, path: str, device: torch.device, **options: Any) -> PreTrainedModel:
    """What `auto.from_pretrained` loads from a directory or Hub id, on a device.

    The library gives random values to weights that the files lack; here that is a ValueError. Where nothing is said of
    code that a model brings along, it does not run, and nobody is asked.

    Raises:
        ModelError: the directory has weights in a format whose reading can run code, and no safetensors, or has an
            adapter in it.
    """
    if "gguf_file" not in options:
        refuse_unsafe_weights(Path(path))
        refuse_embedded_adapter(Path(path))
    model: PreTrainedModel
    model, info = auto.from_pretrained(path, output_loading_info=True, **{"trust_remote_code": False, **options})
    missing = sorted(info["missing_keys"])
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"its files lack {missing[0]}{others}, which {type(model).__name__} needs")
    torch.nn.Module.to(model, device)  # in place; the library's own signature hides its return type
    return model
