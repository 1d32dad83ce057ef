"""The cache with room holds what the library's own cache holds, whatever comes and goes."""

from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from truing.kernels.cache import SizedLayer, StaticLayer, compacted_order, select_rows


def _states(rows: int, tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    keys, values = torch.randn(2, rows, 2, tokens, 3, generator=torch.Generator().manual_seed(seed))
    return keys, values


def test_rows_share_a_prompt_and_then_go_their_own_way() -> None:
    read = DynamicLayer()
    read.update(*_states(2, 4, seed=0))
    rows = torch.tensor([1, 0, 1])
    sized = SizedLayer(read, rows, capacity=7)
    read.batch_select_indices(rows)
    for step in range(3):
        new = _states(3, 1, seed=step + 1)
        for found, expected in zip(sized.update(*new), read.update(*new), strict=True):
            assert torch.equal(found, expected)
    assert sized.get_seq_length() == 7


def test_a_static_layer_keeps_keys_in_the_numbers_of_values() -> None:
    """Autocast leaves keys in single precision, since positions are, and values in bfloat16."""
    read, (keys, values) = DynamicLayer(), _states(2, 4, seed=0)
    read.keys, read.values, read.dtype, read.device = keys, values.bfloat16(), keys.dtype, keys.device
    static = StaticLayer(read, torch.tensor([1, 0]), 8, torch.tensor([4]))
    new = _states(2, 1, seed=1)
    found = static.update(*new)[0]
    expected = torch.cat([keys[[1, 0]], new[0], torch.zeros(2, 2, 3, 3)], dim=2).bfloat16()
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_the_last_rows_take_the_places_of_those_that_leave(going: list[bool]) -> None:
    order = compacted_order(going, sum(going))
    assert sorted(order) == [row for row, stays in enumerate(going) if stays]
    assert all(order[place] == place for place in range(len(order)) if going[place])
    read = DynamicLayer()
    read.update(*_states(len(going), 2, seed=0))
    sized = SizedLayer(read, torch.arange(len(going)), capacity=3)
    select_rows(SimpleNamespace(layers=[sized]), order, torch.device("cpu"))
    assert torch.equal(sized.keys, read.keys[order])
    assert torch.equal(sized.values, read.values[order])
