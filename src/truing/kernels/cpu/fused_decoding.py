"""Prompts, and one token of each row after another, through a model of the Llama family in half of its layers' calls.

Decoding meets small tensors, so its time goes into calls. Here the three projections before the attention are one
product, and so are the two before the gate; queries are scaled as they are rotated, and those that share a key meet it
together; an adapter is merged into the copy of the weight that it changes. The copies are laid out for products of few
rows, where that gains, and are gone when a rollout is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from truing.kernels.backbone import is_known
from truing.kernels.cpu.adapted import merged
from truing.kernels.cpu.linear import gains_by_packing, linear, prepacked
from truing.kernels.cpu.products import one_dnn, reordered
from truing.kernels.packed_rows import ATTENTION

Rotation = tuple[Tensor, Tensor]
"""(B, T, heads, H) cosines and signed sines of each token's position, for the heads of queries, keys and values"""


class FusedStep:
    """A backbone with an adapter in force, as it decodes: what its own forward gives for prompts and new tokens."""

    is_static = False

    def __init__(
        self, model: PreTrainedModel, adapter: str | None, prefix_depth: int | None, reads_prompts: bool
    ) -> None:
        """See `fused_step`."""
        backbone: Any = model.base_model
        self._config = model.config
        self._embed_tokens: Callable[[Tensor], Tensor] = backbone.embed_tokens
        self._rotary_emb: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = backbone.rotary_emb
        self._layers = [_Layer(layer, adapter, reads_prompts) for layer in backbone.layers]
        self._norm = _norm(backbone.norm)
        self._prefix_depth = prefix_depth
        self._reads_prompts = reads_prompts

    @property
    def begin(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None, Any]] | None:
        """See `DecodeStep`. Kept on the step itself, it would keep the step, and its copies, behind the rollout."""
        return self._begin if self._reads_prompts else None

    @torch.inference_mode()  # in which each small call costs a quarter less than without a gradient alone
    def _begin(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None, Any]:
        cache, positions = DynamicCache(config=self._config), (mask.cumsum(1) - 1).clamp(min=0)
        return *self._through(tokens, positions, _seen(mask), cache), cache

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Tensor | None]:
        """See `DecodeStep`."""
        positions = mask.sum(1, keepdim=True) - 1
        states, prefix_states = self._through(tokens[:, None], positions, _added(mask), cache)
        return states, None if prefix_states is None else prefix_states[:, 0]

    def _through(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, cache: Any
    ) -> tuple[Tensor, Tensor | None]:
        """(B, D) last hidden states of tokens (B, T), and (B, T, D) what left the lowest `prefix_depth` layers."""
        embedded, prefix_states = self._embed_tokens(tokens), None
        rotation = self._layers[0].rotation(*self._rotary_emb(embedded, positions))  # all layers have the same heads
        states = embedded.flatten(0, 1)
        for place, (layer, cached) in enumerate(zip(self._layers, cache.layers, strict=True)):
            prefix_states = states.view(embedded.shape) if place == self._prefix_depth else prefix_states
            states = layer(states, rotation, mask, cached)
        return self._norm(states.view(embedded.shape)[:, -1]), prefix_states


class _Layer:
    """A decoder layer: attention and gated feed-forward, each behind a norm and beside what comes in."""

    def __init__(self, layer: Any, adapter: str | None, reads_prompts: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._input_norm = _norm(layer.input_layernorm)
        self._post_attention_norm = _norm(layer.post_attention_layernorm)
        projection = partial(_SideBySide, adapter, reads_prompts)
        self._qkv_proj = projection(attention.q_proj, attention.k_proj, attention.v_proj)
        self._o_proj = projection(attention.o_proj)
        self._gate_up_proj = projection(mlp.gate_proj, mlp.up_proj)
        self._down_proj = projection(mlp.down_proj)
        self._act_fn: Callable[[Tensor], Tensor] = mlp.act_fn
        self._qk_norms = [_norm(attention.q_norm), _norm(attention.k_norm)] if hasattr(attention, "q_norm") else None
        self._attention = attention
        kv_heads = attention.k_proj.out_features // attention.head_dim
        self._heads = kv_heads * attention.num_key_value_groups, kv_heads, kv_heads

    def __call__(self, states: Tensor, rotation: Rotation, mask: Tensor | None, cached: Any) -> Tensor:
        """(B · T, D) to (B · T, D); `mask` of one token as `_added` to the scores, of several what is `_seen`."""
        states = self._o_proj.added_to(states, self._attend(self._input_norm(states), rotation, mask, cached))
        gate, up = self._gate_up_proj(self._post_attention_norm(states)).chunk(2, dim=-1)
        return self._down_proj.added_to(states, self._act_fn(gate).mul_(up))

    def rotation(self, cos: Tensor, sin: Tensor) -> Rotation:
        """Of (B, T, H) cosines and sines. It scales queries, as scores are to be, and leaves values as they are."""
        cos, (left, right) = cos[:, :, None], sin[:, :, None].chunk(2, dim=-1)
        sin, scaling = torch.cat([-left, right], dim=-1), self._attention.scaling
        of_heads = (cos * scaling, cos, torch.ones_like(cos)), (sin * scaling, sin, torch.zeros_like(sin))
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
        if cos.shape[1] > 1:
            attend = ALL_ATTENTION_FUNCTIONS[ATTENTION]  # the library's, where nothing is faster
            options = {"dropout": 0.0, "scaling": 1.0, "by_products": True}
            mixed: Tensor = attend(self._attention, queries, keys, values, mask, **options)[0]
            return mixed.reshape(len(states), -1)
        queries = queries.view(len(states), keys.shape[1], -1, keys.shape[-1])
        if queries.shape[2] > 1:
            return _shared_attention(queries, keys, values, mask).flatten(1)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=1.0).flatten(1)


def _shared_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of a few scaled queries that share a key, for which PyTorch's fused kernel gains nothing.

    queries (B, heads, n, H), keys and values (B, heads, T, H), mask (B, 1, 1, T) added to the scores.
    """
    scores = torch.bmm(queries.flatten(0, 1), keys.flatten(0, 1).mT)
    if mask is not None:
        scores.view(*queries.shape[:3], -1).add_(mask)
    return torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(queries.shape)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    """The root mean square norm around a module's weight: (..., D) to (..., D)."""
    return lambda states: F.rms_norm(states, module.weight.shape, module.weight, module.variance_epsilon)


def _added(mask: Tensor) -> Tensor | None:
    """(B, 1, 1, tokens) what a mask (B, tokens) adds to scores: −∞ where it is 0, else nothing; None without a 0."""
    if bool(mask.all()):
        return None
    return torch.zeros(mask.shape).masked_fill_(mask == 0, -torch.inf)[:, None, None]


def _seen(mask: Tensor) -> Tensor | None:
    """(B, 1, P, P) which tokens one of a prompt sees, by a mask (B, P): those up to it that are no padding, and itself.

    Padding that saw nothing would be no number. None where there is no padding.
    """
    if bool(mask.all()):
        return None
    upto = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril_()
    return (upto & mask.bool()[:, None] | torch.eye(len(upto), dtype=torch.bool))[:, None]


class _SideBySide:
    """rows · weightᵀ + bias of some linear layers, on a copy of their weights with the adapter merged."""

    def __init__(self, adapter: str | None, reads_prompts: bool, *layers: nn.Module) -> None:
        weights, biases = zip(*(_merged(layer, adapter) for layer in layers), strict=True)
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        self._prepacked = gains_by_packing(weight)
        self._weight = reordered(weight) if self._prepacked else weight
        self._plain = linear if reads_prompts else F.linear  # prompts may be enough rows for oneDNN
        self._bias = None if biases[0] is None else torch.cat(biases)

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, in) to (B, out of all layers)."""
        product = one_dnn if self._prepacked else self._plain
        return product(rows, self._weight, self._bias)

    def added_to(self, states: Tensor, rows: Tensor) -> Tensor:
        """(B, out): the product of `rows` (B, in), added to `states` (B, out)."""
        # Not by oneDNN's sum: for up to 32 rows, the most that was tried, it takes longer to be set up.
        return self(rows).add_(states)


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
def fused_step(
    model: PreTrainedModel, adapter: str | None, prefix_depth: int | None, reads_prompts: bool
) -> Iterator[FusedStep]:
    """A step on copies of the weights as they are now, which live as long as the block.

    `reads_prompts` where the model's layers are fused to learn, too: smaller ones stay what their modules make of them.
    """
    projection: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    with prepacked(projection):
        yield FusedStep(model, adapter, prefix_depth, reads_prompts)
