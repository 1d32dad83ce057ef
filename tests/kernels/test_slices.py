"""Slices of layers, side by side in one process, come to what whole layers give; in several: `tests/processes`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from truing.kernels.slices import CutByInputs, CutByOutputs, CutEmbedding, outputs_of, summed, total_of

STATES = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def _alone(part: Tensor) -> Tensor:
    """The sum over processes, but for what the others add."""
    return part


def _slices(kind: type[nn.Module], weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[nn.Module]:
    """Of a layer, one for each process."""
    made = []
    for weight, bias in zip(weights, biases, strict=True):
        layer: nn.Module = nn.Linear(*reversed(weight.shape))
        layer.load_state_dict({"weight": weight, "bias": bias})
        layer.__class__, layer.total = kind, _alone  # type: ignore[assignment]
        made.append(layer)
    return made


def test_a_pair_cut_in_two_gives_what_it_gives_whole_and_so_do_its_gradients() -> None:
    """Each process adds the second layer's bias by itself, once all parts are summed."""
    first, second = nn.Linear(4, 6), nn.Linear(6, 5)
    rows = STATES.clone().requires_grad_()
    expected = second(first(rows).tanh())
    expected.square().sum().backward()
    low = _slices(CutByOutputs, first.weight.detach().chunk(2), first.bias.detach().chunk(2))
    high = _slices(CutByInputs, second.weight.detach().chunk(2, dim=1), [second.bias.detach()] * 2)
    entering = [STATES.clone().requires_grad_() for _ in range(2)]
    found = sum(high[place](low[place](states).tanh()) for place, states in enumerate(entering)) - second.bias
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    assert rows.grad is not None
    torch.testing.assert_close(sum(one.grad for one in entering if one.grad is not None), rows.grad)
    assert [*map(outputs_of, low)] == [3, 3]
    assert [*map(total_of, [*high, first])] == [_alone, _alone, None]


def test_an_embedding_is_where_its_token_is_and_padding_learns_nothing() -> None:
    whole, tokens = nn.Embedding(7, 3, padding_idx=5), torch.tensor([[0, 3, 5], [4, 6, 3]])
    expected = whole(tokens)
    expected.exp().sum().backward()
    assert whole.weight.grad is not None
    halves = []
    for first, weight in zip((0, 4), whole.weight.detach().split(4), strict=True):
        half = nn.Embedding(*weight.shape)
        half.load_state_dict({"weight": weight})
        half.__class__, half.total, half.first, half.padding_idx = CutEmbedding, _alone, first, 5  # type: ignore[assignment]
        halves.append(half)
    found = halves[0](tokens) + halves[1](tokens)
    torch.testing.assert_close(found, expected)
    found.exp().sum().backward()
    gradients = [half.weight.grad for half in halves]
    torch.testing.assert_close(torch.cat([one for one in gradients if one is not None]), whole.weight.grad)


def test_tensors_of_like_numbers_are_summed_by_one_call_and_what_is_not_there_stays_so() -> None:
    calls: list[Tensor] = []

    def doubled(flat: Tensor) -> Tensor:
        calls.append(flat)
        return 2 * flat

    one, other = torch.arange(6.0).view(2, 3), torch.ones(4)
    first, none, last = summed([one, None, other], doubled)
    assert (first is not None and torch.equal(first, 2 * one), none) == (True, None)
    assert last is not None
    assert torch.equal(last, 2 * other)
    assert len(calls) == 1
    assert summed([None, None], doubled) == [None, None]
    assert len(calls) == 1
    narrow = torch.ones(3, dtype=torch.bfloat16)  # in single precision it would be twice the bytes
    found = summed([narrow, one, narrow], doubled)
    assert [tensor.dtype for tensor in calls[1:]] == [torch.bfloat16, torch.float32]
    expected = [2 * narrow, 2 * one, 2 * narrow]
    assert all(own is not None and torch.equal(own, of) for own, of in zip(found, expected, strict=True))
