"""Tokens through a model of the Llama family in half of its layers' calls, with a cache, for whatever device.

Decoding meets small tensors, so its time goes into calls. Here the three projections before the attention are one
product, and so are the two before the gate; queries that share a key meet it together, and no key is copied for each
of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.kernels.slices import outputs_of

Rotation = tuple[Tensor, Tensor]
"""(B, T, heads, H) cosines and signed sines of each token's position, for the heads of queries, keys and values"""


class SideBySide(Protocol):
    """Linear layers that read the same rows, with the adapter in force."""

    def __call__(self, rows: Tensor) -> Tensor:
        """(N, in) to (N, out of all layers)."""

    def added_to(self, states: Tensor, rows: Tensor) -> Tensor:
        """The product of `rows` (N, in), added to `states` (N, out), which are not needed any more."""


@dataclass(frozen=True)
class Computed:
    """How a device computes the parts of a layer."""

    side_by_side: Callable[..., SideBySide]
    """Linear layers to what takes their place"""
    attention: Callable[[Any, Tensor, Tensor, Tensor, Tensor | None], Tensor]
    """The library's attention, queries (B, heads, T, H), keys and values (B, kv heads, tokens, H) and a mask to
    (B · T, heads · H)"""
    scales_queries: bool
    """Whether queries are scaled as they are rotated, as scores are to be"""


class FusedBackbone:
    """A backbone with an adapter in force: what its own forward gives for new tokens, from what a cache has."""

    def __init__(self, model: PreTrainedModel, prefix_depth: int | None, computed: Computed) -> None:
        """Weights are read as they are now; `prefix_depth` is that of a frozen prefix, where there is one."""
        backbone: Any = model.base_model
        # Without the hooks of a module, by which FSDP has other streams wait: no graph of CUDA could hold that.
        self._embed_tokens: Callable[[Tensor], Tensor] = backbone.embed_tokens.forward
        self._rotary_emb: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = backbone.rotary_emb
        self._layers = [_Layer(layer, computed) for layer in backbone.layers]
        self._norm = _norm(backbone.norm)
        self._prefix_depth = prefix_depth

    def through(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, cache: Any
    ) -> tuple[Tensor, Tensor | None]:
        """(B, D) last hidden states of tokens (B, T), and (B, T, D) what left the lowest `prefix_depth` layers."""
        embedded, prefix_states = self._embed_tokens(tokens), None
        rotation = self._layers[0].rotation(*self._rotary_emb(embedded, positions))  # all layers have the same heads
        states = embedded.flatten(0, 1)
        for place, (layer, cached) in enumerate(zip(self._layers, cache.layers, strict=True)):
            if place == self._prefix_depth:
                prefix_states = states.view(embedded.shape).clone()
            states = layer(states, rotation, mask, cached)
        return self._norm(states.view(embedded.shape)[:, -1]), prefix_states


class _Layer:
    """A decoder layer: attention and gated feed-forward, each behind a norm and beside what comes in."""

    def __init__(self, layer: Any, computed: Computed) -> None:
        attention, mlp, side_by_side = layer.self_attn, layer.mlp, computed.side_by_side
        self._input_norm = _norm(layer.input_layernorm)
        self._post_attention_norm = _norm(layer.post_attention_layernorm)
        self._qkv_proj = side_by_side(attention.q_proj, attention.k_proj, attention.v_proj)
        self._o_proj = side_by_side(attention.o_proj)
        self._gate_up_proj = side_by_side(mlp.gate_proj, mlp.up_proj)
        self._down_proj = side_by_side(mlp.down_proj)
        self._act_fn: Callable[[Tensor], Tensor] = mlp.act_fn
        self._qk_norms = [_norm(attention.q_norm), _norm(attention.k_norm)] if hasattr(attention, "q_norm") else None
        self._attention, self._computed = attention, computed
        kv_heads = outputs_of(attention.k_proj) // attention.head_dim
        self._heads = kv_heads * attention.num_key_value_groups, kv_heads, kv_heads

    def __call__(self, states: Tensor, rotation: Rotation, mask: Tensor | None, cached: Any) -> Tensor:
        """(B · T, D) to (B · T, D); the mask is the attention's."""
        states = self._o_proj.added_to(states, self._attend(self._input_norm(states), rotation, mask, cached))
        gate, up = self._gate_up_proj(self._post_attention_norm(states)).chunk(2, dim=-1)
        return self._down_proj.added_to(states, self._act_fn(gate).mul_(up))

    def rotation(self, cos: Tensor, sin: Tensor) -> Rotation:
        """Of (B, T, H) cosines and sines; it leaves values as they are."""
        cos, (left, right) = cos[:, :, None], sin[:, :, None].chunk(2, dim=-1)
        sin, zero = torch.cat([-left, right], dim=-1), torch.zeros_like(cos)
        scaling = self._attention.scaling if self._computed.scales_queries else 1.0
        of_heads = (cos * scaling, cos, torch.ones_like(cos)), (sin * scaling, sin, zero)
        cos, sin = (
            torch.cat([one.expand(-1, -1, heads, -1) for one, heads in zip(parts, self._heads, strict=True)], dim=2)
            for parts in of_heads
        )
        return cos, sin

    def _attend(self, states: Tensor, rotation: Rotation, mask: Tensor | None, cached: Any) -> Tensor:
        cos, sin = rotation
        heads = self._qkv_proj(states).view(cos.shape)
        if self._qk_norms:
            (query_norm, key_norm), (queries, keys, values) = self._qk_norms, heads.split_with_sizes(self._heads, dim=2)
            heads = torch.cat([query_norm(queries), key_norm(keys), values], dim=2)
        # Su et al. 2021 (arXiv:2104.09864), equation 34, with the halves of a head for its pairs.
        rotated = torch.addcmul(heads * cos, heads.roll(cos.shape[-1] // 2, -1), sin)
        queries, keys, values = rotated.transpose(1, 2).split_with_sizes(self._heads, dim=1)
        keys, values = cached.update(keys, values)
        return self._computed.attention(self._attention, queries, keys, values, mask)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    """The root mean square norm around a module's weight: (..., D) to (..., D), in the precision of that."""

    def norm(states: Tensor) -> Tensor:
        weight = module.weight
        return F.rms_norm(states.to(weight.dtype), weight.shape, weight, module.variance_epsilon)

    return norm
