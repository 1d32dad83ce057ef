"""What a vocabulary makes of logits is what the formulas say."""

import torch

from truing.functional import kl_exact, token_entropy, token_logprobs
from truing.kernels.next_token import WHOLE


def test_a_distribution_is_held_against_another_as_by_the_formulas() -> None:
    """Also where a token is ruled out by a logit of −∞, which adds nothing."""
    logits, ref_logits = 3 * torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0))
    logits[2, 3] = -torch.inf
    tokens = torch.tensor([0, 4, 10, 7, 1])
    expected = token_logprobs(ref_logits[None], tokens[None]), kl_exact(logits[None], ref_logits[None])
    expected += (token_entropy(logits[None]),)
    for found, wanted in zip(WHOLE.distribution(logits, ref_logits, tokens), expected, strict=True):
        assert found.isfinite().all()
        torch.testing.assert_close(found, wanted[0])
