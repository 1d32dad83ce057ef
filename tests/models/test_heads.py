"""A scalar head begins as the paper says."""

import pytest
import tiny
import torch

from truing.models.heads import scalar_head


def test_the_head_has_the_deviation_of_the_paper() -> None:
    heads = torch.cat([scalar_head(tiny.model(), seed, bias=True).weight.detach().flatten() for seed in range(200)])
    assert float(heads.std()) == pytest.approx((16 + 1) ** -0.5, rel=0.05)
