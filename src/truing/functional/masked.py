"""Means over the entries that count. What stands off the mask, NaN and infinity included, never reaches a result."""

import torch
from torch import Tensor

from truing.functional.shapes import MaskOfValues, Number, Values


def masked_mean(x: Values, mask: MaskOfValues, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Mean of `x` over the entries whose mask is 1.

    x, mask: any one shape. Returns a scalar, or `x` without `dim`. Where nothing counts the mean is 0, with
    zero gradient.
    """
    counted = mask.bool()
    total = torch.where(counted, x, 0.0).sum(dim)
    return total / counted.sum(dim).clamp(min=1)


def masked_whiten(x: Values, mask: MaskOfValues, shift_mean: bool = True, eps: Number = 1e-8) -> Values:
    """Scales the counted entries to unit variance.

        (x − mean) / √(variance + eps)  (+ mean, unless `shift_mean`)

    The variance is the population's. Advantages shift their mean to 0; rewards keep it, since shifting would turn
    a per-token constant into a bonus for length. Ziegler et al. 2019 (arXiv:1909.08593), reference code.

    x, mask: any one shape. Returns that shape, 0 off the mask.
    """
    counted = mask.bool()
    mean = masked_mean(x, counted)
    centred = torch.where(counted, x - mean, 0.0)
    whitened = centred * torch.rsqrt(masked_mean(centred.square(), counted) + eps)
    return whitened if shift_mean else torch.where(counted, whitened + mean, 0.0)
