"""Short rows are mixed as the library's attention mixes them, forward and backward."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import scaled_dot_product_attention

from truing.kernels.cpu.short_attention import LONGEST, attend, is_short

SCALING = 0.3


def _inputs(heads: int, kv_heads: int, tokens: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries, keys and values (B, heads, T, d), laid out token by token as projections leave them."""
    random = torch.Generator().manual_seed(0)
    shapes = [(2, tokens, count, 4) for count in (heads, kv_heads, kv_heads)]
    return [torch.randn(shape, generator=random, dtype=dtype).transpose(1, 2).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("tokens", [2, 7])
def test_as_the_librarys(heads: int, kv_heads: int, tokens: int) -> None:
    inputs = _inputs(heads, kv_heads, tokens)
    ours = attend(*inputs, SCALING)
    theirs = scaled_dot_product_attention(*inputs, is_causal=True, scale=SCALING, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradient = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    found, expected = (torch.autograd.grad(mixed, inputs, gradient) for mixed in (ours, theirs))
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


def test_gradients_are_the_slopes() -> None:
    assert gradcheck(lambda *inputs: attend(*inputs, SCALING), _inputs(4, 2, 3, torch.float64))


def test_only_whole_short_rows_in_float32() -> None:
    assert is_short(*_inputs(2, 1, LONGEST))
    assert not is_short(*_inputs(2, 1, LONGEST + 1))
    assert not is_short(*_inputs(2, 1, 1))  # a step of decoding
    assert not is_short(*_inputs(2, 1, 5, torch.bfloat16))
    queries, keys, values = _inputs(2, 1, 5)
    assert not is_short(queries[:, :, 2:], keys, values)  # the last of more
