"""Which layers of a base carry an adapter, in PEFT's words, and what cannot carry one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from truing.config.sections import Lora
from truing.core.errors import RecipeError, first_line
from truing.models.prefix import decoder_layers


def lora_config(base: PreTrainedModel, lora: Lora, above: int) -> LoraConfig:
    """Adapters on the layers that the recipe names, but for the lowest `above`."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT divides by the rank and takes any number
        target_modules=lora.targets,
        exclude_modules=_names_below(base, above),
        lora_dropout=0.0,
        fan_in_fan_out=any(issubclass(_kind(module), Conv1D) for module in base.modules()),
        task_type="CAUSAL_LM",
    )


def _kind(module: nn.Module) -> type:
    """What a module is, or was before it was quantised."""
    kind: type = getattr(module, "source_cls", type(module))
    return kind


def _names_below(base: PreTrainedModel, depth: int) -> str | None:
    """A pattern of the modules in the lowest `depth` layers."""
    found = decoder_layers(base)
    if depth == 0 or found is None:
        return None
    return rf".*\b{found[0]}\.({'|'.join(map(str, range(depth)))})\..*"


@contextmanager
def reraise_peft_errors() -> Iterator[None]:
    """PEFT's complaint about the layers it was told to adapt, which it may read as a regular expression, as ours."""
    try:
        yield
    except (ValueError, re.error) as error:
        raise RecipeError(
            f"no adapter could be put on the model ({first_line(error)}).",
            where="lora.targets",
            hint="Write all-linear, or a list of the model's linear layers such as [q_proj, v_proj].",
        ) from error


def refuse_embeddings(peft: PeftModel) -> None:
    """RecipeError where an adapter is on the embeddings, or on a projection that is one with them.

    Merged into a weight that both sides use, what one of them learnt would change the other.
    """
    model: Any = peft.get_base_model()
    embeddings = model.get_input_embeddings()
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            if isinstance(layer.get_base_layer(), nn.Embedding):
                what = "is no linear layer"
            elif layer.weight is embeddings.weight:
                what = "shares its weights with the embeddings"
            else:
                continue
            raise RecipeError(
                f"no adapter can be put on {path}, which {what}.",
                where="lora.targets",
                hint="Take it out of the list, or write all-linear.",
            )
