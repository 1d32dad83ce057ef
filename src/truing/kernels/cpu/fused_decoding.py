"""Prompts, and one token of each row after another, through a model of the Llama family, as a CPU is fastest at it.

An adapter is merged into the copy of the weight that it changes. The copies are laid out for products of few rows,
where that gains, and are gone when a rollout is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from truing.kernels.backbone import is_known
from truing.kernels.cpu.linear import gains_by_packing, linear, prepacked
from truing.kernels.cpu.products import one_dnn, reordered
from truing.kernels.fused_backbone import Computed, FusedBackbone
from truing.kernels.packed_rows import ATTENTION
from truing.kernels.products import merged
from truing.kernels.slices import Total, base_of, own, own_projection, total_of


class FusedStep:
    """A backbone with an adapter in force, as it decodes: what its own forward gives for prompts and new tokens."""

    is_static = False

    def __init__(
        self, model: PreTrainedModel, adapter: str | None, prefix_depth: int | None, reads_prompts: bool
    ) -> None:
        """See `fused_step`."""
        self._config = model.config
        side_by_side = partial(_SideBySide, adapter, reads_prompts)
        self._backbone = FusedBackbone(model, prefix_depth, Computed(side_by_side, _attention, scales_queries=True))
        self._reads_prompts = reads_prompts

    @property
    def begin(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None, Any]] | None:
        """See `DecodeStep`. Kept on the step itself, it would keep the step, and its copies, behind the rollout."""
        return self._begin if self._reads_prompts else None

    @torch.inference_mode()  # in which each small call costs a quarter less than without a gradient alone
    def _begin(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None, Any]:
        cache, positions = DynamicCache(config=self._config), (mask.cumsum(1) - 1).clamp(min=0)
        return *self._backbone.through(tokens, positions, _seen(mask), cache), cache

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Tensor | None]:
        """See `DecodeStep`."""
        positions = mask.sum(1, keepdim=True) - 1
        states, prefix_states = self._backbone.through(tokens[:, None], positions, _added(mask), cache)
        return states, None if prefix_states is None else prefix_states[:, 0]


def _attention(module: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """See `Computed`, of scaled queries; `mask` of one token as `_added` to the scores, of several what is `_seen`."""
    rows, tokens = len(queries), queries.shape[2]
    if tokens > 1:
        attend = ALL_ATTENTION_FUNCTIONS[ATTENTION]  # the library's, where nothing is faster
        options = {"dropout": 0.0, "scaling": 1.0, "by_products": True}
        mixed: Tensor = attend(module, queries, keys, values, mask, **options)[0]
        return mixed.reshape(rows * tokens, -1)
    queries = queries.view(rows, keys.shape[1], -1, keys.shape[-1])
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
        plain = linear if reads_prompts else F.linear  # prompts may be enough rows for oneDNN
        self._product: Callable[[Tensor, Tensor, Tensor | None], Tensor] = one_dnn if self._prepacked else plain
        self._bias = None if biases[0] is None else torch.cat(biases)
        self._total = total_of(layers[0])

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, in) to (B, out of all layers)."""
        return self._product(rows, self._weight, self._bias)

    def added_to(self, states: Tensor, rows: Tensor) -> Tensor:
        """(B, out): the product of `rows` (B, in), added to `states` (B, out)."""
        # Not by oneDNN's sum: for up to 32 rows, the most that was tried, it takes longer to be set up.
        return (self(rows) if self._total is None else self._summed(rows, self._total)).add_(states)

    def _summed(self, rows: Tensor, total: Total) -> Tensor:
        """Of one layer that is cut by its inputs; each process has its bias."""
        whole = total(self._product(rows, self._weight, None))
        return whole if self._bias is None else whole.add_(self._bias)


def _merged(layer: Any, adapter: str | None) -> tuple[Tensor, Tensor | None]:
    """This process's weight (out, in) of a linear layer, with what the adapter adds to it, and its bias (out,)."""
    weight, bias = own_projection(base_of(layer))
    weight = weight.detach()
    if adapter in getattr(layer, "lora_A", ()):
        down, up = own(layer.lora_A[adapter].weight), own(layer.lora_B[adapter].weight)
        weight = merged(weight, down.detach(), up.detach(), layer.scaling[adapter])
    return weight, bias


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
