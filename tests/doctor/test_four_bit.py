"""A base in 4 bit has the size that its format says, and its layers hold what they lay out only while they multiply."""

import pytest
import tiny
import torch
from torch import nn

from truing.config.sections import Lora
from truing.doctor.four_bit import FourBitLinear, in_four_bits
from truing.doctor.shadow import Shadow
from truing.doctor.tally import given_shapes, shapes_alone

FLOAT = 4


def test_a_weight_takes_four_bits_and_its_share_of_the_scales() -> None:
    with torch.device("meta"):
        layer = FourBitLinear(nn.Linear(512, 256, bias=False))
    assert layer.weight.nbytes == pytest.approx(512 * 256 * (4 + 8 / 64 + 32 / 64 / 256) / 8, abs=1)
    assert layer.whole == FLOAT * 512 * 256


def test_it_is_laid_out_in_full_for_a_product_and_nothing_of_it_is_kept() -> None:
    with torch.device("meta"):
        layer = FourBitLinear(nn.Linear(512, 256, bias=False))
    with shapes_alone() as tally:
        given_shapes(layer)
        rows = torch.empty(8, 512, requires_grad=True)
        tally.begin()
        out = layer(rows)
        assert (tally.live, tally.peak) == (out.nbytes, out.nbytes + layer.whole)
        out.sum().backward()
        assert rows.grad is not None
        assert rows.grad.shape == rows.shape


def test_a_shadow_knows_both_sizes() -> None:
    model = tiny.model().to("meta")
    plain, quantised = (Shadow(base, Lora(), cpu=True) for base in (model, in_four_bits(model)))
    assert quantised.whole == plain.weights
    assert plain.whole == 0
    assert quantised.weights < plain.weights
    assert quantised.adapter() == plain.adapter()
