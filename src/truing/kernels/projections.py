"""Linear layers that read the same rows, each with its low-rank adapter where it has one, forward and backward.

As layers of their own each has a gradient of the rows, which autograd adds up in passes of its own, and each adapter
reads all rows for itself. Here what is added is added while it is computed, and first matrices of adapters lie side by
side.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

from truing.kernels.cpu.adapted import AdaptedLinear
from truing.kernels.cpu.linear import OneDnnLinear
from truing.kernels.float32_adapter import Float32AdaptedLinear
from truing.kernels.products import (
    add_narrow,
    add_product,
    added_product,
    merged,
    merges,
    narrow_product,
    product,
    summed_over_rows,
)
from truing.kernels.slices import CutByInputs, CutByOutputs, LinearDrawnWhole, own, own_projection

TENSORS, DOWN, UP = 4, 2, 3
"""Of a projection, and the places among them of an adapter's first and second matrix"""


class Projection(NamedTuple):
    """rows · weightᵀ + bias + scale · (rows · downᵀ) · upᵀ."""

    weight: Tensor
    """(out, in)"""
    bias: Tensor | None
    """(out,)"""
    down: Tensor | None = None
    """(r, in); None without an adapter"""
    up: Tensor | None = None
    """(out, r)"""
    scale: float = 1.0

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """As many as `TENSORS`."""
        return self.weight, self.bias, self.down, self.up

    @property
    def learns(self) -> bool:
        """Whether one of its tensors has a gradient."""
        return any(tensor is not None and tensor.requires_grad for tensor in self.tensors)


def projection_of(layer: nn.Module) -> Projection | None:
    """What a layer, or this process's slice of it, computes with the adapter in force; None where that is more."""
    if type(layer) in (nn.Linear, OneDnnLinear, CutByOutputs, CutByInputs):
        return Projection(*own_projection(layer))  # type: ignore[arg-type]
    if type(layer) not in (LoraLinear, AdaptedLinear, Float32AdaptedLinear, LinearDrawnWhole):
        return None
    lora: Any = layer
    base = projection_of(lora.base_layer)
    active = [name for name in lora.active_adapters if name in lora.lora_A]
    if base is None or lora.merged or len(active) > 1:
        return None
    if lora.disable_adapters or not active:
        return base
    (name,) = active
    if lora.lora_variant.get(name) or lora.lora_bias.get(name) or type(lora.lora_dropout[name]) is not nn.Identity:
        return None
    down, up = own(lora.lora_A[name].weight), own(lora.lora_B[name].weight)
    return base._replace(down=down, up=up, scale=lora.scaling[name])


def computed_in(dtype: torch.dtype, projections: Sequence[Projection]) -> list[Projection]:
    """The same with their adapters in another precision; gradients come back in their own."""
    factors = [factor for one in projections for factor in (one.down, one.up) if factor is not None]
    if all(factor.dtype == dtype for factor in factors):
        return [*projections]
    cast = torch.cat([factor.flatten() for factor in factors]).to(dtype)  # small as they are, a call for all
    parts = (
        part.view_as(like) for part, like in zip(torch.split(cast, [*map(torch.numel, factors)]), factors, strict=True)
    )
    return [one if one.up is None else one._replace(down=next(parts), up=next(parts)) for one in projections]


def flat(projections: Sequence[Projection]) -> list[Tensor | None]:
    """Their tensors, `TENSORS` of each, as autograd takes them."""
    return [tensor for one in projections for tensor in one.tensors]


def unflat(tensors: Sequence[Any], scales: Sequence[float]) -> list[Projection]:
    """What `flat` was given."""
    weights, biases, downs, ups = (tensors[kind::TENSORS] for kind in range(TENSORS))
    return [Projection(*one) for one in zip(weights, biases, downs, ups, scales, strict=True)]


def project(
    rows: Tensor, projections: Sequence[Projection], to: Tensor | None = None
) -> tuple[list[Tensor], Tensor | None]:
    """Each projection of `rows` (N, in), which is (N, out); added `to` (N, out), which stays as it is.

    Returns:
        Those, and (N, all ranks) what the adapters' first matrices made of the rows, scaled, where that was needed.
    """
    if merges(rows):
        projections = [_merged(one) for one in projections]
    at_once = to if rows.dtype != torch.bfloat16 else None  # there each sum with what is large would be rounded anew
    outs = [
        product(rows, one.weight, one.bias) if at_once is None else added_product(at_once, rows, one.weight, one.bias)
        for one in projections
    ]
    narrow = _narrow(rows, projections)
    if narrow is not None:
        parts = iter(torch.split(narrow, _ranks(projections), 1))
        for place, one in enumerate(projections):
            if one.up is not None:
                outs[place] = add_narrow(outs[place], next(parts), one.up)
    if to is not None and at_once is None:
        outs = [out.add_(to) for out in outs]
    return outs, narrow


def gradients(
    of_outs: Sequence[Tensor],
    rows: Tensor | None,
    narrow: Tensor | None,
    projections: Sequence[Projection],
    reaches_rows: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """That of the rows, and those of `flat(projections)`.

    Args:
        of_outs: the gradient of each output, (N, out).
        rows: (N, in); None where no projection learns.
        narrow: what `project` returned beside them.
        projections: as `project` had them.
        reaches_rows: whether the rows have a gradient.
    """
    of_outs = [gradient.contiguous() for gradient in of_outs]
    both = [*zip(of_outs, projections, strict=True)]
    of_parts = [narrow_product(of_out, one.up.t()).mul_(one.scale) for of_out, one in both if one.up is not None]
    of_narrow = _cat(of_parts, 1) if of_parts else None
    of_rows = _of_rows(of_outs, of_narrow, projections, is_merged=narrow is None) if reaches_rows else None
    return of_rows, _of_tensors(both, rows, narrow, of_narrow)


def _of_rows(
    of_outs: Sequence[Tensor], of_narrow: Tensor | None, projections: Sequence[Projection], is_merged: bool
) -> Tensor:
    of_rows = None
    for of_out, one in zip(of_outs, projections, strict=True):
        across = (_merged(one) if is_merged else one).weight.t()
        of_rows = product(of_out, across) if of_rows is None else add_product(of_rows, of_out, across)
    assert of_rows is not None
    if is_merged or of_narrow is None:
        return of_rows
    return add_narrow(of_rows, of_narrow, _downs(projections).t())


def _of_tensors(
    both: Sequence[tuple[Tensor, Projection]], rows: Tensor | None, narrow: Tensor | None, of_narrow: Tensor | None
) -> list[Tensor | None]:
    if rows is None:
        return [None] * (TENSORS * len(both))
    adapters: Iterator[tuple[Tensor, Tensor]] = iter(())
    projections = [one for _, one in both]
    narrow = _narrow(rows, projections) if narrow is None else narrow
    if narrow is not None and of_narrow is not None:
        ranks = _ranks(projections)
        of_downs = torch.split(summed_over_rows(of_narrow, rows), ranks)
        adapters = zip(of_downs, torch.split(narrow, ranks, 1), strict=True)
    found: list[Tensor | None] = []
    for of_out, one in both:
        found.append(product(of_out.t(), rows.t()) if one.weight.requires_grad else None)
        found.append(of_out.sum(0) if one.bias is not None and one.bias.requires_grad else None)
        of_down, part = (None, None) if one.up is None else next(adapters)
        found += [of_down, None if part is None else summed_over_rows(part, of_out).t()]
    return found


def _narrow(rows: Tensor, projections: Sequence[Projection]) -> Tensor | None:
    """(N, all ranks) what the adapters' first matrices make of rows (N, in), scaled; None without adapters."""
    adapted = [one for one in projections if one.down is not None]
    if not adapted:
        return None
    narrow = narrow_product(rows, _downs(adapted))
    for part, one in zip(torch.split(narrow, _ranks(adapted), 1), adapted, strict=True):
        part.mul_(one.scale)
    return narrow


def _downs(projections: Sequence[Projection]) -> Tensor:
    """(all ranks, in)."""
    return _cat([one.down for one in projections if one.down is not None])


def _ranks(projections: Sequence[Projection]) -> list[int]:
    return [len(one.down) for one in projections if one.down is not None]


def _merged(one: Projection) -> Projection:
    """The same, with its adapter in a copy of the weight."""
    if one.down is None or one.up is None:
        return one
    return Projection(merged(one.weight, one.down, one.up, one.scale), one.bias)


def _cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts], dim)
