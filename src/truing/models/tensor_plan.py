"""Which layers of a model are cut in which way, so that several processes compute a slice of each."""

import re
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from truing.core.errors import ModelError
from truing.kernels.text_config import text_config
from truing.models.even_shares import divisors, layers_hint, refuse_uneven_heads
from truing.processes.tensor_styles import BY_OUTPUTS, KNOWN, SUMMED


def tensor_plan(model: PreTrainedModel, processes: int) -> dict[str, str]:
    """Paths of a model's modules to the way each is cut, from the plan that transformers has for its family.

    Raises:
        ModelError: there is none, or one that cannot be followed in so many processes.
    """
    ways: dict[str, str] = getattr(text_config(model), "base_model_tp_plan", None) or {}
    prefix = next(path for path, module in model.named_modules() if module is model.base_model)
    found: dict[str, str] = {}
    for path, _ in model.base_model.named_modules():
        way = ways.get(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path))
        if way is not None:
            found[f"{prefix}.{path}" if prefix else path] = way
    if not found:
        raise _refused(model, "has no plan in transformers for cutting its layers.")
    other = sorted({*ways.values()} - KNOWN)
    if other:
        raise _refused(model, f"has layers that are cut in a way truing does not know ({', '.join(other)}).")
    _refuse_what_is_left_out(model, found)
    _refuse_what_does_not_divide(model, found, processes)
    _refuse_vocabulary(model, processes)
    return found


def _refuse_what_is_left_out(model: PreTrainedModel, plan: dict[str, str]) -> None:
    """What stands beside layers that are cut by their outputs would see a slice of them, and its gradient be a part."""
    beside = {path.rpartition(".")[0] for path, way in plan.items() if way == BY_OUTPUTS}
    for path, _ in model.named_parameters():
        module = path.rpartition(".")[0]
        if module not in plan and any(module == own or module.startswith(f"{own}.") for own in beside):
            raise _refused(model, f"has {path}, of which the plan in transformers for cutting its layers says nothing.")


def _refuse_what_does_not_divide(model: PreTrainedModel, plan: dict[str, str], processes: int) -> None:
    config: Any = text_config(model)
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    layers = {path: model.get_submodule(path) for path in plan}
    linear = [layer for layer in layers.values() if isinstance(layer, nn.Linear)]
    widths = [width for layer in linear for width in (layer.in_features, layer.out_features)]
    refuse_uneven_heads(heads, key_heads, processes, where=model.name_or_path, widths=widths)
    for path, layer in layers.items():
        if isinstance(layer, nn.Linear) and (layer.in_features % processes or layer.out_features % processes):
            size = f"{layer.in_features} by {layer.out_features}"
            what = f"has {path} of {size}, which {processes} processes cannot share out."
            raise _refused(model, what, divisors(heads, key_heads, *widths))
        if type(layer) is not nn.Linear and plan[path] != SUMMED:  # of 4 bit, say
            raise _refused(model, f"has {path}, a {type(layer).__name__}, which is no plain linear layer to be cut.")


def _refuse_vocabulary(model: Any, processes: int) -> None:
    embeddings, projection = model.get_input_embeddings(), model.get_output_embeddings()
    if type(embeddings) is not nn.Embedding or not (projection is None or isinstance(projection, nn.Linear)):
        raise _refused(model, "has embeddings of its own kind, which cannot be cut by tokens.")
    tokens = len(embeddings.weight)
    if -(-tokens // processes) * (processes - 1) >= tokens:  # a slice is as long as any other, but for the last
        raise _refused(model, f"has {tokens} tokens, of which the last of {processes} processes would have none.")


def _refused(model: PreTrainedModel, what: str, numbers: str = "") -> ModelError:
    return ModelError(what, code="model/not-cut", where=model.name_or_path, hint=layers_hint("--tp", numbers))
