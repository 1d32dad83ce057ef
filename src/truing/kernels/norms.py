"""Root mean square norms and their gradients. Zhang and Sennrich 2019 (arXiv:1910.07467).

On a CPU in few passes, elsewhere by PyTorch's kernels, one for each direction; in both, sums and products are float32
and what comes out is rounded once.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten: Any = torch.ops.aten
KERNELS = ("_fused_rms_norm", "_fused_rms_norm_backward")
"""PyTorch's own names, which another version may not have"""


def has_kernel(states: Tensor) -> bool:
    """Whether PyTorch has one for both directions where these are; on a CPU there is none for the backward."""
    return states.device.type not in ("cpu", "meta") and all(hasattr(aten, name) for name in KERNELS)


def rms_norm(states: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """States (N, D) and a weight (D,) of one precision to (N, D), and (N, 1) the inverse of each row's length."""
    if has_kernel(states):
        rows, inverse = aten._fused_rms_norm(states, [states.shape[-1]], weight, epsilon)
        return rows, inverse
    wide = _wide(states)
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    inverse = length.square_().div_(states.shape[-1]).add_(epsilon).rsqrt_()
    return _scaled(wide, weight, inverse).to(states.dtype), inverse


def rms_norm_again(states: Tensor, weight: Tensor, epsilon: float, inverse: Tensor) -> Tensor:
    """The rows of `rms_norm` once more, from what it gave beside them."""
    if has_kernel(states):
        return rms_norm(states, weight, epsilon)[0]
    return _scaled(_wide(states), weight, inverse).to(states.dtype)


def rms_norm_gradients(
    of_rows: Tensor, states: Tensor, weight: Tensor, inverse: Tensor, weight_learns: bool
) -> tuple[Tensor, Tensor | None]:
    """That of the states, and that of the weight where it learns. `of_rows` (N, D) is not needed any more."""
    if has_kernel(states):
        mask = [True, weight_learns]
        of_states, of_weight = aten._fused_rms_norm_backward(of_rows, states, [states.shape[-1]], inverse, weight, mask)
        return of_states, of_weight if weight_learns else None
    wide, of_wide = _wide(states), _wide(of_rows)
    slope = of_wide * wide
    of_weight = (slope.t() @ inverse[:, 0]).to(weight.dtype) if weight_learns else None
    along = (slope @ weight.to(slope.dtype))[:, None].mul_(inverse.pow(3)).div_(-states.shape[-1])
    of_states = of_wide.mul_(weight).mul_(inverse).addcmul_(wide, along)
    return of_states.to(states.dtype), of_weight


def norm_of_heads(norm: Any, heads: Tensor) -> Tensor:
    """What a norm of the library gives for heads (..., d)."""
    if has_kernel(heads):
        return F.rms_norm(heads, heads.shape[-1:], norm.weight, norm.variance_epsilon)
    normed: Tensor = norm(heads)
    return normed


def _scaled(wide: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    return (wide * inverse).mul_(weight)


def _wide(states: Tensor) -> Tensor:
    """In the precision that sums are in."""
    return states.to(torch.promote_types(states.dtype, torch.float32))
