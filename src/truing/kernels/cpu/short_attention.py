"""Causal attention of short rows by products of whole rows, where the blocks of the library's kernel gain nothing.

Queries that share a key meet it together, so keys and values are not repeated for them.
"""

from typing import Any

import torch
from torch import Tensor

LONGEST = 128
"""Tokens of a row up to which it was the faster way, forward and backward, in every grouping that was tried"""


def is_short(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether those (B, heads, T, d) are of whole short rows in float32 on a CPU."""
    tokens = queries.shape[2]
    is_float = queries.dtype == keys.dtype == values.dtype == torch.float32
    return 1 < tokens <= LONGEST and keys.shape[2] == tokens and is_float and queries.is_cpu


def attend(queries: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
    """(B, T, heads, d): values mixed, each query of (B, heads, T, d) seeing (B, kv heads, T, d) up to its own place."""
    mixed: Tensor = _Attention.apply(queries, keys, values, scaling)  # type: ignore[no-untyped-call]
    return mixed.transpose(1, 2)


class _Attention(torch.autograd.Function):
    """softmax(scaling · QKᵀ + mask)V. Vaswani et al. 2017 (arXiv:1706.03762), equation 1.

    All is (B · kv heads, ...): queries of heads that share a key lie one below the other.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
        batch, heads, tokens, width = queries.shape
        own, kv_heads = (-1, tokens, width), keys.shape[1]
        grouped, keys, values = queries.reshape(batch * kv_heads, -1, width), keys.reshape(own), values.reshape(own)
        later = queries.new_full((heads // kv_heads, tokens, tokens), float("-inf")).triu_(1).view(-1, tokens)
        weights = torch.softmax(torch.baddbmm(later, grouped, keys.transpose(1, 2), alpha=scaling), -1)
        ctx.save_for_backward(grouped, keys, values, weights)
        ctx.scaling, ctx.batch = scaling, batch
        return torch.bmm(weights, values).view(queries.shape)

    @staticmethod
    def backward(ctx: Any, *of_outs: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, weights = ctx.saved_tensors
        of_mixed = of_outs[0].reshape(queries.shape)
        of_values = torch.bmm(weights.transpose(1, 2), of_mixed)
        of_weights = torch.bmm(of_mixed, values.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(ctx.scaling)
        of_queries, of_keys = torch.bmm(of_scores, keys), torch.bmm(of_scores.transpose(1, 2), queries)
        *_, tokens, width = keys.shape
        whole = (ctx.batch, -1, tokens, width)
        return of_queries.view(whole), of_keys.view(whole), of_values.view(whole), None
