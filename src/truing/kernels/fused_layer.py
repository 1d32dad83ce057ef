"""A decoder layer of the Llama family in fewer passes over memory than its own modules take, forward and backward.

Products that read the same rows share what they can (`projections`), the residual stream is added while a product is
computed, and what is cheap to compute once more for the backward, norms and what leaves a gate, is not kept for it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from truing.kernels.backbone import decoder_layers, is_known, known_layers
from truing.kernels.cpu.linear import one_dnn_is_there
from truing.kernels.norms import norm_of_heads, rms_norm, rms_norm_again, rms_norm_gradients
from truing.kernels.packed_rows import ATTENTION
from truing.kernels.precision import Precision
from truing.kernels.projections import (
    DOWN,
    TENSORS,
    UP,
    Projection,
    computed_in,
    flat,
    gradients,
    project,
    projection_of,
    unflat,
)
from truing.kernels.slices import Total, summed, total_of

MIN_FUSED_WEIGHTS = 1 << 16
"""Weights of a layer from which on it is computed so; smaller ones stay what their modules make of them, to the bit"""


def fuses_layers(model: PreTrainedModel, device: torch.device, precision: Precision) -> bool:
    """Whether all layers are computed so: large ones of a known family, whose weights are computed with as they are."""
    lacks = device.type == "cpu" and precision.compute == torch.float32 and not one_dnn_is_there()
    if precision.is_mixed or lacks:
        return False
    if not is_known(model) or getattr(model.config, "hidden_act", None) != "silu":
        return False
    found = decoder_layers(model)
    if found is None:
        return False
    weights = [[*layer.parameters()] for layer in found[1]]
    is_whole = all(weight.dtype == precision.parameters for own in weights for weight in own)
    return is_whole and all(sum(weight.numel() for weight in own) >= MIN_FUSED_WEIGHTS for own in weights)


def fuse_layers(model: PreTrainedModel) -> None:
    """Has every decoder layer of the model computed so, where `fuses_layers`; parameters stay the same objects."""
    for layer in known_layers(model, hint=""):
        layer.__class__ = _fused(type(layer))


def _fused(kind: type[nn.Module]) -> type[nn.Module]:
    """The same kind of layer."""

    def forward(self: Any, hidden_states: Tensor, *args: Any, **named: Any) -> Any:
        projections = None if args or named.get("past_key_values") is not None else _projections(self, hidden_states)
        if projections is None:
            return kind.forward(self, hidden_states, *args, **named)
        return _computed(self, hidden_states, projections, **named)

    return type(kind.__name__, (kind,), {"forward": forward})


def _projections(layer: Any, states: Tensor) -> list[Projection] | None:
    """Of queries, keys, values, mixed values, gates, what is gated, and what was; None where more is computed."""
    attention, mlp = layer.self_attn, layer.mlp
    projecting = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    projecting += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    if torch.amp.is_autocast_available(states.device.type) and torch.is_autocast_enabled(states.device.type):
        return None
    if attention.config._attn_implementation not in ("sdpa", ATTENTION):
        return None
    if attention.training and attention.attention_dropout:
        return None
    norms = layer.input_layernorm, layer.post_attention_layernorm
    if any(map(_is_watched, (attention, mlp, *norms, *projecting))):
        return None
    found = [projection_of(part) for part in projecting]
    known = [one for one in found if one is not None and one.weight.dtype == states.dtype]
    return computed_in(states.dtype, known) if len(known) == len(found) else None


def _is_watched(module: nn.Module) -> bool:
    """Whether something is to happen when it is called, beside what it computes."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks) or "forward" in vars(module)


def _computed(
    layer: Any,
    hidden_states: Tensor,
    projections: Sequence[Projection],
    attention_mask: Tensor | None = None,
    position_embeddings: Any = None,
    **named: Any,
) -> Tensor:
    """(B, T, D) to (B, T, D)."""
    queries_keys_values, (out,), gate_up, (down,) = projections[:3], projections[3:4], projections[4:6], projections[6:]
    attention, shape, total = layer.self_attn, hidden_states.shape, total_of(layer.self_attn.q_proj)
    states = hidden_states.reshape(-1, shape[-1])
    heads = [
        part.view(*shape[:-1], -1, attention.head_dim)
        for part in _normed(layer.input_layernorm, states, queries_keys_values, total)
    ]
    if hasattr(attention, "q_norm"):
        heads[:2] = norm_of_heads(attention.q_norm, heads[0]), norm_of_heads(attention.k_norm, heads[1])
    heads[:2] = (_Rotated.apply(part, *position_embeddings) for part in heads[:2])  # type: ignore[no-untyped-call]
    attend = ALL_ATTENTION_FUNCTIONS[ATTENTION]  # the library's, where nothing is faster
    inputs = [part.transpose(1, 2) for part in heads]
    options = {"dropout": 0.0, "scaling": attention.scaling, "by_products": True, **named}
    mixed, _ = attend(attention, *inputs, attention_mask, **options)
    mixed = mixed.reshape(len(states), -1)
    states = _Added.apply(states, mixed, out.scale, total, *flat([out]))  # type: ignore[no-untyped-call]
    gate, up = _normed(layer.post_attention_layernorm, states, gate_up, total)
    out_states: Tensor = _Gated.apply(states, gate, up, down.scale, total, *flat([down]))  # type: ignore[no-untyped-call]
    whole: Tensor = torch.ops.aten._unsafe_view(out_states, shape)  # no view, which sharding would warn of
    return whole


def _normed(norm: Any, states: Tensor, projections: Sequence[Projection], total: Total | None) -> tuple[Tensor, ...]:
    scales = [one.scale for one in projections]
    settings = norm.weight, norm.variance_epsilon, scales, total
    projected: tuple[Tensor, ...] = _Normed.apply(states, *settings, *flat(projections))  # type: ignore[no-untyped-call]
    return projected


class _Normed(Function):
    """Projections of states (N, D) behind a root mean square norm."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        norm: Tensor,
        epsilon: float,
        scales: Sequence[float],
        total: Total | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        rows, inverse = rms_norm(states, norm, epsilon)
        outs, narrow = project(rows, unflat(tensors, scales))
        ctx.save_for_backward(states, norm, inverse, narrow, *tensors)
        ctx.epsilon, ctx.scales, ctx.total = epsilon, scales, total
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        states, norm, inverse, narrow, *tensors = ctx.saved_tensors
        projections = unflat(tensors, ctx.scales)
        learns = any(one.learns for one in projections)
        rows = rms_norm_again(states, norm, ctx.epsilon, inverse) if learns else None
        norm_learns = ctx.needs_input_grad[1]
        of_rows, of_tensors = gradients(of_outs, rows, narrow, projections, ctx.needs_input_grad[0] or norm_learns)
        if ctx.total is not None:  # what is cut by its outputs has of each a part
            of_rows, *of_tensors[DOWN::TENSORS] = summed([of_rows, *of_tensors[DOWN::TENSORS]], ctx.total)
        of_states = of_norm = None
        if of_rows is not None:
            of_states, of_norm = rms_norm_gradients(of_rows, states, norm, inverse, norm_learns)
        return of_states, of_norm, None, None, None, *of_tensors


class _Added(Function):
    """`states` (N, D) and a projection of `rows` (N, in)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, rows: Tensor, scale: float, total: Total | None, *tensors: Tensor | None
    ) -> Tensor:
        (projection,) = unflat(tensors, [scale])
        added, narrow = _added(states, rows, projection, total)
        ctx.save_for_backward(rows if projection.learns else None, narrow, *tensors)
        ctx.scale, ctx.total = scale, total
        return added

    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        rows, narrow, *tensors = ctx.saved_tensors
        of_rows, of_tensors = gradients(of_outs, rows, narrow, unflat(tensors, [ctx.scale]), ctx.needs_input_grad[1])
        return of_outs[0], of_rows, None, None, *_with_whole_ups(of_tensors, ctx.total)


class _Gated(Function):
    """`states` (N, D) and a projection of SiLU(gate) · up, both (N, in). Shazeer 2020 (arXiv:2002.05202), section 2."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        gate: Tensor,
        up: Tensor,
        scale: float,
        total: Total | None,
        *tensors: Tensor | None,
    ) -> Tensor:
        opened, (projection,) = F.silu(gate), unflat(tensors, [scale])
        added, narrow = _added(states, opened * up, projection, total)
        ctx.save_for_backward(gate, opened, up, narrow, *tensors)
        ctx.scale, ctx.total = scale, total
        return added

    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        gate, opened, up, narrow, *tensors = ctx.saved_tensors
        projections = unflat(tensors, [ctx.scale])
        rows = opened * up if projections[0].learns else None
        of_rows, of_tensors = gradients(of_outs, rows, narrow, projections, reaches_rows=True)
        assert of_rows is not None
        of_up = of_rows * opened
        of_gate = of_rows.mul_(up)
        torch.ops.aten.silu_backward.grad_input(of_gate, gate, grad_input=of_gate)
        return of_outs[0], of_gate, of_up, None, None, *_with_whole_ups(of_tensors, ctx.total)


def _added(states: Tensor, rows: Tensor, projection: Projection, total: Total | None) -> tuple[Tensor, Tensor | None]:
    """`states` (N, D) and a projection of `rows` (N, in), which are slices where there is a `total`; see `project`."""
    if total is None:
        (added,), narrow = project(rows, [projection], to=states)
        return added, narrow
    (part,), narrow = project(rows, [projection._replace(bias=None)])
    added = total(part).add_(states)
    return added if projection.bias is None else added.add_(projection.bias), narrow


def _with_whole_ups(of_tensors: list[Tensor | None], total: Total | None) -> list[Tensor | None]:
    """Beside what is cut by its inputs, an adapter's second matrix is whole, and has a part of its gradient in each."""
    if total is not None:
        of_tensors[UP::TENSORS] = summed(of_tensors[UP::TENSORS], total)
    return of_tensors


class _Rotated(Function):
    """Heads (B, T, heads, d) at their positions, (B, T, d) or (1, T, d) cosines and sines.

    Su et al. 2021 (arXiv:2104.09864), equation 34, with the halves of a head for its pairs.
    """

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = cos[:, :, None], sin[:, :, None]
        ctx.save_for_backward(cos, sin)
        rotated, half = heads * cos, heads.shape[-1] // 2
        rotated[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
        rotated[..., half:].addcmul_(heads[..., :half], sin[..., half:])
        return rotated

    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        (of_rotated,), (cos, sin) = of_outs, ctx.saved_tensors
        of_heads, half = of_rotated * cos, of_rotated.shape[-1] // 2
        of_heads[..., :half].addcmul_(of_rotated[..., half:], sin[..., half:])
        of_heads[..., half:].addcmul_(of_rotated[..., :half], sin[..., :half], value=-1)
        return of_heads, None, None
