"""An adapter as it is cheapest to sample with, while its weights do not change.

PEFT's forward casts what comes in, and scales and adds in passes of their own: four more calls a layer in each token
step. A float32 weight takes the adapter in, in a copy. A narrower one would round away what is small beside it, so the
adapter stays beside it, in the precision that the layer computes in, and is added in two calls.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.kernels.slices import total_of


@contextmanager
@torch.no_grad()
def light_adapter(model: PreTrainedModel, adapter: str | None) -> Iterator[None]:
    """Inside, an adapter costs little; afterwards every weight is the object that it was.

    On a layer of which this process has a slice it stays what it is.
    """
    with ExitStack() as restored:
        for layer in model.modules():
            if adapter is None or not isinstance(layer, LoraLayer) or total_of(layer) is not None:
                continue
            if adapter in layer.lora_A:
                weight = getattr(layer.get_base_layer(), "weight", None)
                if weight is not None and weight.dtype == torch.float32:
                    _merge(layer, adapter, restored)
                elif weight is not None:
                    layer.forward = _beside(layer, adapter, model.dtype)
                    restored.callback(delattr, layer, "forward")
        yield


@contextmanager
def light_decoding(model: PreTrainedModel, adapter: str | None, _: int | None) -> Iterator[None]:
    """A model decodes by its own layers, as they are now, for as long as the block lasts."""
    with light_adapter(model, adapter):
        yield


def _merge(layer: Any, adapter: str, restored: ExitStack) -> None:
    """PEFT's layer knows itself as merged, and leaves all to its base."""
    base, weight = layer.get_base_layer(), layer.get_base_layer().weight
    restored.callback(setattr, base, "weight", weight)
    base.weight = nn.Parameter(weight + layer.get_delta_weight(adapter), requires_grad=False)
    layer.merged_adapters.append(adapter)
    restored.callback(layer.merged_adapters.remove, adapter)


def _beside(layer: Any, adapter: str, dtype: torch.dtype) -> Callable[..., Tensor]:
    down = layer.lora_A[adapter].weight.to(dtype)
    up = (layer.lora_B[adapter].weight * layer.scaling[adapter]).to(dtype)

    def forward(rows: Tensor, *_: Any, **__: Any) -> Tensor:
        wide: Tensor = layer.get_base_layer()(rows)
        narrow = F.linear(rows, down).flatten(0, -2)
        return torch.addmm(wide.flatten(0, -2), narrow, up.t()).view(wide.shape)

    return forward
