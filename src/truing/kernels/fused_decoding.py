"""One token of each row through a model of the Llama family, in half of the calls that its own layers make.

Decoding meets small tensors, so its time goes into calls. Here the three projections before the attention are one
product, and so are the two before the gate; what a product is added to is added while it is computed; queries that
share a key meet it together; an adapter is merged into the copy of the weight that it changes. The copies are laid out
for the matrix units, where that gains, and are gone when a rollout is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from truing.kernels.cache import SizedLayer
from truing.kernels.families import is_known
from truing.kernels.linear import one_dnn, one_dnn_added, packed, suits
from truing.models.roles import Role


class FusedStep:
    """A role's backbone as it decodes: what a role's `forward` gives for one new token a row."""

    def __init__(self, role: Role) -> None:
        backbone: Any = role.model.base_model
        self._embed: Callable[[Tensor], Tensor] = backbone.embed_tokens
        self._turns: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = backbone.rotary_emb
        self._layers = [_Layer(layer, role.adapter) for layer in backbone.layers]
        self._norm = _Norm(backbone.norm)
        self._depth = role.trunk.depth if role.trunk else None

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Tensor | None]:
        """One more token (B,) of each row; `mask` (B, cached + 1) counts it and what is in the `cache`.

        Returns:
            (B, D) last hidden states, and (B, D) what left the trunk where the role has one.
        """
        states, below = self._embed(tokens), None
        cosine, sine = self._turns(states[:, None], (mask.sum(1) - 1)[:, None])
        left, right = sine.chunk(2, dim=-1)
        turn = cosine, torch.cat([-left, right], dim=-1)
        seen = None if bool(mask.all()) else mask.bool()[:, None, None]
        for place, (layer, cached) in enumerate(zip(self._layers, cache.layers, strict=True)):
            below = states if place == self._depth else below
            states = layer(states, turn, seen, cached)
        return self._norm(states), below


class _Layer:
    """A decoder layer: attention and gated feed-forward, each behind a norm and beside what comes in."""

    def __init__(self, layer: Any, adapter: str | None) -> None:
        attention, forward = layer.self_attn, layer.mlp
        self._before, self._between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._asking = _Product(adapter, attention.q_proj, attention.k_proj, attention.v_proj)
        self._answer = _Product(adapter, attention.o_proj)
        self._widen = _Product(adapter, forward.gate_proj, forward.up_proj)
        self._narrow = _Product(adapter, forward.down_proj)
        self._activation: Callable[[Tensor], Tensor] = forward.act_fn
        self._norms = [_Norm(attention.q_norm), _Norm(attention.k_norm)] if hasattr(attention, "q_norm") else None
        self._head, self._scale = attention.head_dim, attention.scaling
        self._groups = attention.num_key_value_groups

    def __call__(self, states: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor | None, cached: SizedLayer) -> Tensor:
        """(B, D) to (B, D); `turn` are (B, 1, H) cosines and signed sines, `seen` (B, 1, 1, tokens) bool."""
        states = self._answer.added_to(states, self._attend(self._before(states), turn, seen, cached))
        gate, wide = self._widen(self._between(states)).chunk(2, dim=-1)
        return self._narrow.added_to(states, self._activation(gate).mul_(wide))

    def _attend(self, states: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor | None, cached: SizedLayer) -> Tensor:
        heads = self._asking(states).view(len(states), -1, self._head)
        shared = heads.shape[1] // (self._groups + 2)
        asked, values = heads[:, :-shared], heads[:, -shared:]
        if self._norms:
            parts = asked[:, :-shared], asked[:, -shared:]
            asked = torch.cat([norm(part) for norm, part in zip(self._norms, parts, strict=True)], dim=1)
        cosine, sine = turn
        # Su et al. 2021 (arXiv:2104.09864), equation 34, with the halves of a head for its pairs.
        turned = torch.addcmul(asked * cosine, asked.roll(self._head // 2, -1), sine)
        keys, values = cached.update(turned[:, -shared:, None], values[:, :, None])
        queries = turned[:, :-shared].view(len(states), shared, self._groups, self._head)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=self._scale)
        return mixed.flatten(1)


class _Norm:
    """The root mean square norm around a module's weight."""

    def __init__(self, module: Any) -> None:
        self._weight, self._smallest = module.weight, module.variance_epsilon

    def __call__(self, states: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return F.rms_norm(states, self._weight.shape, self._weight, self._smallest)


class _Product:
    """rows · weightᵀ + bias of linear layers side by side, on a copy of their weights with the adapter merged."""

    def __init__(self, adapter: str | None, *layers: nn.Module) -> None:
        weights, biases = zip(*(_merged(layer, adapter) for layer in layers), strict=True)
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        self._packed = suits(weight)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if self._packed else weight
        self._bias = None if biases[0] is None else torch.cat(biases)

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, in) to (B, out of all layers)."""
        product = one_dnn if self._packed else F.linear
        return product(rows, self._weight, self._bias)

    def added_to(self, states: Tensor, rows: Tensor) -> Tensor:
        """(B, out): the product of `rows` (B, in), added to `states` (B, out)."""
        if self._packed:
            return one_dnn_added(rows, self._weight, self._bias, states)
        return states + F.linear(rows, self._weight, self._bias)


def _merged(layer: Any, adapter: str | None) -> tuple[Tensor, Tensor | None]:
    """A linear layer's weight (out, in), with what the adapter adds to it, and its bias (out,)."""
    base: Any = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    weight: Tensor = base.weight.detach()
    if adapter in getattr(layer, "lora_A", ()):
        weight = weight + layer.get_delta_weight(adapter)
    return weight, base.bias


def fuses(role: Role) -> bool:
    """Whether a role decodes by `FusedStep`: a known family in float32 on a CPU, without sliding windows."""
    weights = role.model.parameters()
    return is_known(role.model) and all(
        weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in weights
    )


@contextmanager
def laid_out(role: Role) -> Iterator[FusedStep | None]:
    """Weights laid out for decoding inside the block, which holds them twice: a step where one fuses, or in place."""
    step = FusedStep(role) if fuses(role) else None
    with packed(role.projection if step else role.model):
        yield step
