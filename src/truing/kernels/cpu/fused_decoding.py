"""One token of each row through a model of the Llama family, in half of the calls that its own layers make.

Decoding meets small tensors, so its time goes into calls. Here the three projections before the attention are one
product, and so are the two before the gate; what a product is added to is added while it is computed; queries that
share a key meet it together; an adapter is merged into the copy of the weight that it changes. The copies are laid out
for products of few rows, where that gains, and are gone when a rollout is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from truing.kernels.backbone import is_known
from truing.kernels.cache import SizedLayer
from truing.kernels.cpu.adapted import merged
from truing.kernels.cpu.linear import gains_by_packing, prepacked
from truing.kernels.cpu.products import one_dnn, one_dnn_added, reordered

Rotation = tuple[Tensor, Tensor]
"""(B, 1, 1, H) cosines and signed sines of each row's position"""


class FusedStep:
    """A backbone with an adapter in force, as it decodes: what its own forward gives for one new token a row."""

    is_static = False

    def __init__(self, model: PreTrainedModel, adapter: str | None, prefix_depth: int | None) -> None:
        backbone: Any = model.base_model
        self._embed_tokens: Callable[[Tensor], Tensor] = backbone.embed_tokens
        self._rotary_emb: Callable[[Tensor, Tensor], Rotation] = backbone.rotary_emb
        self._layers = [_Layer(layer, adapter) for layer in backbone.layers]
        self._norm = _norm(backbone.norm)
        self._prefix_depth = prefix_depth

    @torch.inference_mode()  # in which each small call costs a quarter less than without a gradient alone
    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Tensor | None]:
        """One more token (B,) of each row; `mask` (B, cached + 1) counts it and what is in the `cache`.

        Returns:
            (B, D) last hidden states, and (B, D) what left the lowest `prefix_depth` layers.
        """
        states, prefix_states = self._embed_tokens(tokens), None
        cos, sin = self._rotary_emb(states[:, None], (mask.sum(1) - 1)[:, None])
        left, right = sin.chunk(2, dim=-1)
        cos_sin = cos[:, None], torch.cat([-left, right], dim=-1)[:, None]
        attention_mask = None if bool(mask.all()) else _added(mask, states.dtype)
        for place, (layer, cached) in enumerate(zip(self._layers, cache.layers, strict=True)):
            prefix_states = states if place == self._prefix_depth else prefix_states
            states = layer(states, cos_sin, attention_mask, cached)
        return self._norm(states), prefix_states


class _Layer:
    """A decoder layer: attention and gated feed-forward, each behind a norm and beside what comes in."""

    def __init__(self, layer: Any, adapter: str | None) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._input_norm = _norm(layer.input_layernorm)
        self._post_attention_norm = _norm(layer.post_attention_layernorm)
        self._qkv_proj = _Product(adapter, attention.q_proj, attention.k_proj, attention.v_proj)
        self._o_proj = _Product(adapter, attention.o_proj)
        self._gate_up_proj = _Product(adapter, mlp.gate_proj, mlp.up_proj)
        self._down_proj = _Product(adapter, mlp.down_proj)
        self._act_fn: Callable[[Tensor], Tensor] = mlp.act_fn
        self._qk_norms = [_norm(attention.q_norm), _norm(attention.k_norm)] if hasattr(attention, "q_norm") else None
        self._head_dim, self._scaling = attention.head_dim, attention.scaling
        self._groups = attention.num_key_value_groups

    def __call__(self, states: Tensor, cos_sin: Rotation, mask: Tensor | None, cached: SizedLayer) -> Tensor:
        """(B, D) to (B, D); `mask` (B, 1, 1, tokens) is added to the scores."""
        states = self._o_proj.added_to(states, self._attend(self._input_norm(states), cos_sin, mask, cached))
        gate, up = self._gate_up_proj(self._post_attention_norm(states)).chunk(2, dim=-1)
        return self._down_proj.added_to(states, self._act_fn(gate).mul_(up))

    def _attend(self, states: Tensor, cos_sin: Rotation, mask: Tensor | None, cached: SizedLayer) -> Tensor:
        heads = self._qkv_proj(states).view(len(states), -1, 1, self._head_dim)
        kv_heads = heads.shape[1] // (self._groups + 2)
        asking = self._groups * kv_heads
        queries_keys, values = heads.split_with_sizes((asking + kv_heads, kv_heads), dim=1)
        if self._qk_norms:
            parts = queries_keys.split_with_sizes((asking, kv_heads), dim=1)
            queries_keys = torch.cat([norm(part) for norm, part in zip(self._qk_norms, parts, strict=True)], dim=1)
        cos, sin = cos_sin
        # Su et al. 2021 (arXiv:2104.09864), equation 34, with the halves of a head for its pairs.
        rotated = torch.addcmul(queries_keys * cos, queries_keys.roll(self._head_dim // 2, -1), sin)
        queries, keys = rotated.split_with_sizes((asking, kv_heads), dim=1)
        keys, values = cached.update(keys, values)
        queries = queries.view(len(states), kv_heads, self._groups, self._head_dim)
        attention = F.scaled_dot_product_attention if self._groups == 1 else _shared_attention
        return attention(queries, keys, values, attn_mask=mask, scale=self._scaling).flatten(1)


def _shared_attention(queries: Tensor, keys: Tensor, values: Tensor, attn_mask: Tensor | None, scale: float) -> Tensor:
    """`F.scaled_dot_product_attention` of a few queries that share a key, for which its fused kernel gains nothing.

    queries (B, heads, n, H), keys and values (B, heads, T, H), mask (B, 1, 1, T) added to the scores.
    """
    scores = torch.bmm(queries.flatten(0, 1), keys.flatten(0, 1).mT).mul_(scale)
    if attn_mask is not None:
        scores.view(*queries.shape[:3], -1).add_(attn_mask)
    return torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(queries.shape)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    """The root mean square norm around a module's weight: (..., D) to (..., D)."""
    return lambda states: F.rms_norm(states, module.weight.shape, module.weight, module.variance_epsilon)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, 1, tokens) what is added to scores for a mask (B, tokens): nothing, or −∞ where there is none."""
    nothing = torch.zeros(mask.shape, dtype=dtype)
    return nothing.masked_fill_(mask == 0, -torch.inf)[:, None, None]


class _Product:
    """rows · weightᵀ + bias of linear layers side by side, on a copy of their weights with the adapter merged."""

    def __init__(self, adapter: str | None, *layers: nn.Module) -> None:
        weights, biases = zip(*(_merged(layer, adapter) for layer in layers), strict=True)
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        self._prepacked = gains_by_packing(weight)
        self._weight = reordered(weight) if self._prepacked else weight
        self._bias = None if biases[0] is None else torch.cat(biases)

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, in) to (B, out of all layers)."""
        product = one_dnn if self._prepacked else F.linear
        return product(rows, self._weight, self._bias)

    def added_to(self, states: Tensor, rows: Tensor) -> Tensor:
        """(B, out): the product of `rows` (B, in), added to `states` (B, out)."""
        if self._prepacked:
            return one_dnn_added(rows, self._weight, self._bias, states)
        return states + F.linear(rows, self._weight, self._bias)


def _merged(layer: Any, adapter: str | None) -> tuple[Tensor, Tensor | None]:
    """A linear layer's weight (out, in), with what the adapter adds to it, and its bias (out,)."""
    base: Any = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    weight: Tensor = base.weight.detach()
    if adapter in getattr(layer, "lora_A", ()):
        down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
        weight = merged(weight, down.detach(), up.detach(), layer.scaling[adapter])
    return weight, base.bias


def fuses(model: PreTrainedModel) -> bool:
    """Whether a CPU decodes a model by `FusedStep`: one of a known family, in float32."""
    return is_known(model) and all(weight.dtype == torch.float32 for weight in model.parameters())


@contextmanager
def fused_step(model: PreTrainedModel, adapter: str | None, prefix_depth: int | None) -> Iterator[FusedStep]:
    """A step on copies of the weights as they are now, which live as long as the block."""
    projection: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    with prepacked(projection):
        yield FusedStep(model, adapter, prefix_depth)
