"""Pretrained weights: all that a model has, or a refusal."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from truing.core.errors import ModelError, TruingError
from truing.models.arrival import Keep, kept_in_parts, let_go_of_files
from truing.models.weight_files import refuse_embedded_adapter, refuse_unsafe_weights

NUMBERS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Types of weights that can be added up"""
SUMMED = 1 << 22
"""Numbers that are added up at once"""


@contextmanager
def reraise_as(refusal: Callable[[Exception], ModelError]) -> Iterator[None]:
    """What a library raises in the block over a model's files, whatever its class, as a refusal of ours.

    Readers of damaged files, tokenizers and the code that a model brings along raise what they like. Our own errors,
    and want of memory, are no fault of the files and pass.
    """
    try:
        yield
    except (TruingError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise refusal(error) from error


def outline(auto: Any, config: PretrainedConfig, trust_remote_code: bool, **options: Any) -> PreTrainedModel:
    """The model that `auto.from_config` builds, on torch's meta device, where weights take no memory."""
    with torch.device("meta"):
        model: PreTrainedModel = auto.from_config(config, trust_remote_code=trust_remote_code, **options)
    return model


def load_weights(
    auto: Any, path: str, device: torch.device, parts: Mapping[str, Keep] | None = None, **options: Any
) -> PreTrainedModel:
    """What `auto.from_pretrained` loads from a directory or Hub id, on a device.

    Of the weights that `parts` names, each process keeps its part, see `arrival`.

    The library gives random values to weights that the files lack; here that is a ValueError, and so are weights of
    another shape. Where nothing is said of code that a model brings along, it does not run, and nobody is asked.

    Raises:
        ModelError: the directory has weights in a format whose reading can run code, and no safetensors, or has an
            adapter in it; or a weight has entries that are no numbers.
    """
    if "gguf_file" not in options:
        refuse_unsafe_weights(Path(path))
        refuse_embedded_adapter(Path(path))
    model: PreTrainedModel
    asked = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    with kept_in_parts(parts, device) if parts else nullcontext(()) as elsewhere:
        model, info = auto.from_pretrained(path, **asked, **{"trust_remote_code": False, **options})
    for name, found, wanted in sorted(info["mismatched_keys"]):
        shapes = f"of shape {tuple(found)}, where {type(model).__name__} has {tuple(wanted)}"
        raise ValueError(f"its files have {name} {shapes}")
    missing = sorted(info["missing_keys"])
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"its files lack {missing[0]}{others}, which {type(model).__name__} needs")
    if parts:
        let_go_of_files(model, parts)
    torch.nn.Module.to(model, device)  # in place; the library's own signature hides its return type
    refuse_no_numbers((one for one in model.named_parameters() if one[0] not in elsewhere), path)
    return model


@torch.no_grad()
def refuse_no_numbers(weights: Iterable[tuple[str, Tensor]], path: str) -> None:
    """ModelError for a weight with NaN or an infinite entry, by which only a bias may rule tokens out.

    Of one that is kept in parts this process's part is looked at. It is known by sums, which take one pass, of parts:
    what is narrower is copied to be added up.
    """
    for name, whole in weights:
        own = getattr(whole, "to_local", None)  # of one in parts
        weight = own() if own else whole
        if weight.is_meta or weight.dtype not in NUMBERS:
            continue
        if all(bool(part.sum(dtype=torch.float32).isfinite()) for part in torch.split(weight.flatten(), SUMMED)):
            continue
        may_rule_out = weight.dim() < 2 and name.endswith("bias") and "norm" not in name  # a token, by −∞
        if bool(weight.isnan().any()) or (not may_rule_out and bool(weight.isinf().any())):
            what = f"its weight {name} has entries that are no finite numbers, so nothing it says could be used."
            hint = "Fetch its files again; if they are the same there, take another model."
            raise ModelError(what, code="model/not-finite", where=path, hint=hint)


def check_weights(auto: Any, path: str, config: PretrainedConfig, **options: Any) -> None:
    """Raises what `load_weights` would of files that lack a weight or have it in another shape; only headers are read.

    Of files that are quantised nothing is said: what becomes of them hangs on the device.
    """
    if getattr(config, "quantization_config", None) is None:
        load_weights(auto, path, torch.device("meta"), device_map="meta", **options)
