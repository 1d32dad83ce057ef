"""What a vocabulary makes of logits is what the formulas say."""

from typing import Any

import numpy as np
import pytest
import torch

from truing.functional import kl_exact, token_entropy, token_logprobs
from truing.kernels.next_token import WHOLE


def test_a_distribution_is_held_against_another_as_by_the_formulas() -> None:
    """Also where a token is ruled out by a logit of −∞, which adds nothing, of either or of both."""
    logits, ref_logits = 3 * torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0))
    logits[2, 3] = logits[3, 1] = ref_logits[3, 1] = -torch.inf
    logits[4, 2], ref_logits[4, 2] = -1e4, -torch.inf
    tokens = torch.tensor([0, 4, 10, 7, 1])
    expected = token_logprobs(ref_logits[None], tokens[None]), kl_exact(logits[None], ref_logits[None])
    expected += (token_entropy(logits[None]),)
    for found, wanted in zip(WHOLE.distribution(logits, ref_logits, tokens), expected, strict=True):
        assert found.isfinite().all()
        torch.testing.assert_close(found, wanted[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_and_entropy_are_those_of_the_formulas_in_numpy(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(6, 700, generator=generator, dtype=dtype)
    ref_logits = logits + 0.3 * torch.randn(6, 700, generator=generator, dtype=dtype)
    probs, ref_probs = (np.exp(rows) / np.exp(rows).sum(1, keepdims=True) for rows in map(_wide, (logits, ref_logits)))
    expected = (probs * np.log(probs / ref_probs)).sum(1), -(probs * np.log(probs)).sum(1)
    found = WHOLE.distribution(logits, ref_logits, torch.zeros(6, dtype=torch.long))[1:]
    for own, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(own.numpy(), right, rtol=1e-11 if dtype == torch.float64 else 1e-4)


def test_a_policy_that_is_its_reference_is_not_apart_from_it() -> None:
    logits = 9 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(2))
    assert WHOLE.distribution(logits, logits.clone(), torch.zeros(4, dtype=torch.long))[1].tolist() == [0.0] * 4


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("whose", [0, 1])
def test_a_logit_that_is_no_number_is_not_left_out_as_one_that_is_ruled_out(value: float, whose: int) -> None:
    both = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(3))
    both[whose, 1, 4] = value
    _, kl, _ = WHOLE.distribution(*both, torch.tensor([0, 1, 2]))
    assert kl.isnan().tolist() == [False, True, False]
    logits = torch.full((1, 5), -torch.inf)
    assert all(one.isnan() for one in WHOLE.distribution(logits, logits.clone(), torch.tensor([2])))


def _wide(rows: torch.Tensor) -> Any:
    return rows.double().numpy()
