"""Which layers of ours take the place of the library's: those that compute and learn what these do.

A layer computed in one, a product, and an adapter beside it have a forward and a backward of their own. Before any is
put into a model, its lowest layers are read by them and, on the same weights, by the library's with PEFT's adapters:
the last hidden states, and the gradients of what came in, of adapters and of all weights. The truth is what the
library's give in wider numbers; ours may be as far from it as these are, but for chance. Few layers are asked, as a
deep model multiplies rounding until it is as large as a fault.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers import PreTrainedModel

from truing.config.sections import Lora
from truing.kernels.backbone import decoder_layers, hidden_padded
from truing.kernels.backend import Backend, ways_to_compute
from truing.kernels.products import merging
from truing.models.adapters import Adapters
from truing.models.context import context_length
from truing.models.first_layers import lowest_layers
from truing.models.roles import Role

ROWS, TOKENS = 2, 8
"""That are read"""
FACTORS = 3, 5
"""Tokens that are read are multiples of the first; if ours are too far off there, which may be chance, of the second"""
TIMES = 10
"""As many times the library's distance from the truth ours may be, of each tensor. In bfloat16, of random models that
lose most in rounding, two in a hundred are further off, and of others none: docs/log.md has what faults come to"""
LEAST = 1e-5
"""Share of a tensor that the library's distance is at least taken for; rounding of its numbers, where that is more"""
ADAPTER, LORA, SIZE = "asked", Lora(rank=2, alpha=6.0), 0.02
"""An adapter whose scale is not 1, and by how much its factors are moved so that it does something"""
WIDER = {torch.bfloat16: torch.float32, torch.float32: torch.float64}
"""Numbers whose rounding is none beside that of others"""

Learnt = Sequence[Tensor]
"""Last hidden states, the gradient of what came in, and that of each weight that learns"""
Library = Callable[..., Learnt]
"""Whether by an adapter, the factor of tokens, and wider numbers to compute in, to what the library's layers give"""


def exchanged(model: PreTrainedModel, backend: Backend) -> Backend:
    """The backend with as many of its layers as learn what the library's do. None is put into the model yet."""
    *ways, own = ways_to_compute(backend)

    @cache
    def library(by_adapter: bool, factor: int, dtype: torch.dtype | None = None) -> Learnt:
        return _learnt(_role(model, own, by_adapter, dtype), factor, dtype)

    for way in ways:
        if not _changes(model, way) or any(_learns_alike(model, way, library, factor) for factor in FACTORS):
            return way
    return own


def _changes(model: PreTrainedModel, backend: Backend) -> bool:
    """Whether it has a layer of ours for one that the model has, or for an adapter on it."""
    few = lowest_layers(model)
    before = [type(part) for part in few.modules()]
    backend.prepare(few)
    return before != [type(part) for part in few.modules()] or any(
        isinstance(part, tuple(backend.adapter_layers)) for part in few.modules()
    )


def _learns_alike(model: PreTrainedModel, way: Backend, library: Library, factor: int) -> bool:
    """By an adapter; in float32 also by one that is merged, as for many rows, and in all weights if these can learn."""
    wide = way.precision.parameters == torch.float32
    try:
        for by_adapter in (True, False) if wide and not getattr(model, "is_quantized", False) else (True,):
            role = _role(model, way, by_adapter)
            for merges in (False, True) if wide and by_adapter else (False,):
                with merging(always=merges):
                    ours = _learnt(role, factor)
                if not _are_near(ours, partial(library, by_adapter, factor), way.precision.compute):
                    return False
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # a model's own code, and a kernel that this device or this torch lacks, fail in their own way
        return False
    return True


def _are_near(ours: Learnt, library: Library, dtype: torch.dtype) -> bool:
    """To the library's, or as near to the truth as these, which is asked for where it matters."""
    theirs, least = library(), TIMES * max(LEAST, torch.finfo(dtype).eps)
    if all(torch.dist(one, other) <= least * other.norm() for one, other in zip(ours, theirs, strict=True)):
        return True
    truth = library(WIDER[dtype])
    return all(
        torch.dist(one.to(true), true) <= torch.maximum(TIMES * torch.dist(other.to(true), true), least * true.norm())
        for one, other, true in zip(ours, theirs, truth, strict=True)
    )


def _role(model: PreTrainedModel, backend: Backend, by_adapter: bool, dtype: torch.dtype | None = None) -> Role:
    """A role of the model's lowest layers that learns; computed in `dtype` where that is given."""
    few = lowest_layers(model)
    backend.prepare(few)
    role = Role(few, backend=replace(backend, hidden=hidden_padded))
    if by_adapter:
        role.adapters, role.adapter = _adapters(few, backend), ADAPTER
    else:
        layers = decoder_layers(few)
        (few.base_model if layers is None else layers[1]).requires_grad_(True)
    if dtype is not None:
        _compute_in(dtype, few)
    return role


def _learnt(role: Role, factor: int, dtype: torch.dtype | None = None) -> Learnt:
    few = role.model
    tokens = _tokens(few, factor)
    with torch.enable_grad(), _came_in(few, dtype) as embedded:
        hidden = role.hidden(tokens, torch.ones_like(tokens))
        learns = [weight for weight in few.base_model.parameters() if weight.requires_grad]
        slopes = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0)).to(hidden)
        whole = torch.autograd.grad(hidden, [*embedded, *learns], slopes, allow_unused=True, materialize_grads=True)
    return [hidden.detach(), *whole]


def _adapters(model: PreTrainedModel, backend: Backend) -> Adapters:
    adapters = Adapters(model, LORA, 0, backend)
    adapters.add(ADAPTER)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in adapters.parameters(ADAPTER):
            weight.add_((SIZE * torch.randn(weight.shape, generator=draws)).to(weight))
    return adapters


def _tokens(model: PreTrainedModel, factor: int) -> Tensor:
    """(B, T) that differ, as far as there are so many."""
    known = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    tokens = min(TOKENS, context_length(model))
    return torch.arange(1, 1 + ROWS * tokens, device=model.device).view(ROWS, tokens) * factor % known


@contextmanager
def _came_in(model: PreTrainedModel, dtype: torch.dtype | None) -> Iterator[list[Tensor]]:
    """Inside, the embeddings of tokens have a gradient, in `dtype`, and are in the list once they were read."""
    embedded: list[Tensor] = []

    def note(_: nn.Module, __: Any, embeddings: Tensor) -> Tensor:
        embedded.append(embeddings.detach().to(dtype).requires_grad_())
        return embedded[-1].clone()  # what a model may write over

    hook = model.get_input_embeddings().register_forward_hook(note)
    try:
        yield embedded
    finally:
        hook.remove()


def _compute_in(dtype: torch.dtype, model: PreTrainedModel) -> None:
    """Has all but the vocabulary in other numbers, and weights in 4 bit as what they stand for."""
    vocabulary = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    kept = {id(weight) for part in vocabulary if part is not None for weight in part.parameters()}
    model.config._experts_implementation = "eager"  # the library's faster ones take no float64
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is not None and not weight.is_floating_point():
            module.__class__, module.weight = nn.Linear, nn.Parameter(dequantize_module_weight(module), False)
        for own in module._parameters.values():
            if own is not None and id(own) not in kept:
                own.data = own.data.to(dtype)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.to(dtype)
