"""A frozen base in 4 bit, on which adapters learn (QLoRA): NF4 with quantised scales, by bitsandbytes.

Dettmers et al. 2023 (arXiv:2305.14314). Linear layers but the vocabulary projection take 4.1 bits a weight, and are
laid out in full whenever they meet an input; adapters, heads, embeddings and norms keep their precision.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from truing.core.errors import RecipeError, first_line

BLOCK_WEIGHTS = 64
"""Weights that share a scale"""
MAX_RELATIVE_ERROR = 0.2
"""Of a 4-bit matrix, relative to the matrix; NF4 of even weights has 0.09"""


def check_quantisation(device: torch.device, widths: Iterable[int] = (BLOCK_WEIGHTS,)) -> None:
    """Computes in 4 bit on this device, with inputs of these widths, to see whether it can.

    Raises:
        RecipeError: bitsandbytes is missing, or does not support the device.
    """
    try:
        import_module("accelerate")  # with which transformers loads such weights
        bitsandbytes = import_module("bitsandbytes")
    except Exception as error:  # it looks for hardware on import, and raises what it likes
        what = f"nf4 needs bitsandbytes, which cannot be imported ({first_line(error)})."
        hint = "pip install 'truing[quant]', or set it to none."
        raise RecipeError(what, code="recipe/no-bitsandbytes", where="base.quantize", hint=hint) from error
    for width in widths:
        reason = _fault(bitsandbytes.nn.Linear4bit, width, device)
        if reason is not None:
            what = f"bitsandbytes does not compute in 4 bit on this {device.type} device ({reason})."
            hint = "Set it to none, or compute.device to one that bitsandbytes supports."
            raise RecipeError(what, code="recipe/no-nf4", where="base.quantize", hint=hint)


def nf4_options(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` has to be told."""
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": config, "device_map": {"": device}}


def prepare_4bit_layers(model: nn.Module, device: torch.device) -> None:
    """Makes a model that was loaded in 4 bit fit for sampling and learning alike.

    On some CPUs bitsandbytes lays weights out anew as soon as an input needs no gradient. It then rounds to bfloat16,
    so that sampling and learning would follow two policies, and no gradient passes through afterwards.

    Raises:
        RecipeError: the products of a layer of this width are wrong on this device.
    """
    kind = import_module("bitsandbytes").nn.Linear4bit
    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, kind)]
    check_quantisation(device, sorted({layer.in_features for layer in layers}))
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False


def _fault(kind: Any, width: int, device: torch.device) -> str | None:
    """What is wrong with 4-bit layers of this kind and width; None if nothing is."""
    try:
        wrong = _error(kind, width, device)
    except Exception as error:  # a device that the library does not know ends in errors of every kind
        return first_line(error)
    return None if wrong < MAX_RELATIVE_ERROR else f"products of width {width} are wrong by {wrong:.0%}"


def _error(kind: Any, width: int, device: torch.device) -> float:
    """Largest relative error of a layer's product and of its gradient, for weights whose blocks differ in scale."""
    scales = 1 + torch.arange(width) % 5
    weight = (scales[:, None] * torch.linspace(-1, 1, BLOCK_WEIGHTS)).reshape(BLOCK_WEIGHTS, width)
    with torch.random.fork_rng(devices=[]):
        layer = kind(width, BLOCK_WEIGHTS, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    layer.weight.data = weight.clone()
    rows = torch.eye(width, device=device, requires_grad=True)
    product: Tensor = layer.to(device)(rows)
    (gradient,) = torch.autograd.grad(product, rows, torch.eye(width, BLOCK_WEIGHTS, device=device))
    of_product, of_gradient = product.detach().cpu().t() - weight, gradient.cpu()[:BLOCK_WEIGHTS] - weight[:width]
    return max(float(of_product.norm() / weight.norm()), float(of_gradient.norm() / weight[:width].norm()))
