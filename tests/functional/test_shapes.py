"""The signatures of the mathematics are held to in tests, and cost nothing elsewhere."""

import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from truing.functional import bradley_terry_loss, gae, kl_exact, masked_mean, shape_rewards, token_logprobs

ZEROS, TOKENS = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    "call",
    [
        lambda: masked_mean(ZEROS, torch.ones(2, 4)),
        lambda: masked_mean(ZEROS, torch.ones(3)),
        lambda: gae(ZEROS, torch.zeros(2, 4), torch.ones(2, 3)),
        lambda: kl_exact(torch.zeros(2, 3, 5), torch.zeros(2, 3, 4)),
        lambda: token_logprobs(torch.zeros(2, 4, 5), TOKENS),
        lambda: token_logprobs(torch.zeros(2, 3, 5), ZEROS),
        lambda: shape_rewards(torch.zeros(3), ZEROS, ZEROS, torch.ones(2, 3), 0.1),
        lambda: bradley_terry_loss(TOKENS, TOKENS),
        lambda: bradley_terry_loss(ZEROS[0], ZEROS[0], label_smoothing="0.1"),
    ],
)
def test_a_wrong_shape_or_type_is_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_outside_the_tests_nothing_checks_types():
    code = "import sys, truing.functional; sys.exit(any(name.startswith('beartype') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code]).returncode == 0
