"""What is held, multiplied and moved, against numbers worked out by hand."""

import torch
from torch import nn

from truing.doctor.tally import Cost, given_shapes, shapes_alone
from truing.kernels.cpu.linear import OneDnnLinear, one_dnn

FLOAT = 4


def test_held_bytes_rise_and_fall_and_the_peak_is_kept() -> None:
    with shapes_alone() as tally:
        first = torch.empty(10, 10)
        second = first + 1
        view = second[:5]
        del first, second
        assert tally.live == 100 * FLOAT  # the view holds the whole
        del view
    assert (tally.live, tally.peak) == (0, 200 * FLOAT)


def test_no_number_is_computed_or_held() -> None:
    with shapes_alone() as tally:
        huge = torch.empty(10**6, 10**6)
        assert huge.square().shape == (10**6, 10**6)
    assert tally.peak == 2 * 10**12 * FLOAT


def test_a_frozen_layer_keeps_nothing_for_the_backward_and_a_learning_one_its_input() -> None:
    kept = {}
    for learning in (False, True):
        with torch.device("meta"):
            layer = OneDnnLinear(nn.Linear(256, 512, bias=False))
        layer.requires_grad_(learning)
        with shapes_alone() as tally:
            given_shapes(layer)
            rows = torch.empty(32, 256, requires_grad=True) * 1
            out = layer(rows)
            del rows
            kept[learning] = tally.live - out.nbytes - layer.weight.nbytes - 32 * 256 * FLOAT
    assert kept == {False: 0, True: 32 * 256 * FLOAT}


def test_tied_weights_stay_tied() -> None:
    with torch.device("meta"):
        model = nn.ModuleList([nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)])
    model[1].weight = model[0].weight
    with shapes_alone() as tally:
        given_shapes(model)
        assert model[0].weight is model[1].weight
        assert tally.live == 9 * 4 * FLOAT


def test_costs_that_follow_one_another_hold_together_and_peak_once() -> None:
    assert Cost(10, 5, 1) + Cost(20, 7, 2) == Cost(30, 7, 3)


def test_products_that_differ_are_compiled_once_each() -> None:
    with shapes_alone() as tally:
        rows, weight = torch.empty(5, 7), torch.empty(4, 7)
        one_dnn(rows, weight)
        one_dnn(rows, weight)
        assert tally.compiled == 1
        one_dnn(rows, torch.empty(7, 4).t())
        one_dnn(torch.empty(6, 7), weight)
        assert tally.compiled == 3
        tally.begin()
        assert (tally.live, tally.compiled) == (0, 0)
