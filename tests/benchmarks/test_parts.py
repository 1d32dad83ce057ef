"""Each operator's time is put to the part of learning that it serves."""

import pytest
import torch
from ppo.parts import LAYERS, NARROW, OTHERS, PARTS, VOCABULARY, WEIGHTS, Clocks, Widths

from truing.kernels.cpu.short_attention import attend

WIDTHS = Widths(frozenset({576, 1536, 192}), vocabulary=49152)
BY_ONE_DNN = "mkldnn::_linear_pointwise"


@pytest.mark.parametrize(
    ("operator", "matrices", "part"),
    [
        (BY_ONE_DNN, [[376, 576], [1536, 576]], LAYERS),
        (BY_ONE_DNN, [[376, 576], [376, 1536], [1536, 576]], LAYERS),
        ("aten::addmm", [[376, 576], [376, 1536], [1536, 576]], LAYERS),
        (BY_ONE_DNN, [[1536, 376], [576, 376]], WEIGHTS),
        ("aten::mm", [[1536, 376], [376, 576]], WEIGHTS),
        (BY_ONE_DNN, [[376, 576], [24, 576]], NARROW),
        ("aten::addmm_", [[376, 1536], [376, 8], [8, 1536]], NARROW),
        ("aten::addmm", [[1536, 576], [1536, 8], [8, 576]], NARROW),
        (BY_ONE_DNN, [[64, 576], [49152, 576]], VOCABULARY),
        ("aten::mm", [[64, 49152], [49152, 576]], VOCABULARY),
        ("aten::mul", [[376, 576], [376, 1]], None),
        ("aten::mm", [[376, 576]], None),
    ],
)
def test_a_product_is_known_by_its_sizes(operator: str, matrices: list[list[int]], part: str | None):
    assert WIDTHS.product(operator, [torch.Size(one) for one in matrices]) == part


def test_other_operators_serve_what_calls_them_forward_and_backward():
    with Clocks(WIDTHS) as clocks:
        heads = [torch.ones(1, 2, 4, 8, requires_grad=True) for _ in range(3)]
        mixed = attend(*heads, scaling=1.0)
    assert clocks.parts["attention"] > 0
    forward = clocks.parts["attention"]
    with clocks:
        mixed.backward(torch.ones_like(mixed))
    assert clocks.parts["attention"] > forward
    assert {part for part in PARTS if clocks.parts[part] > 0} == {"attention", OTHERS}
