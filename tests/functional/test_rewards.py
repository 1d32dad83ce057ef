import numpy as np
import pytest
import torch
from oracles import episodes
from oracles.cases import MASKS, draw, mask_named, tensor

from truing.functional import shape_rewards

SCORES, LOGPROBS, REF_LOGPROBS = draw(0, 3), draw(1, 3, 4), draw(2, 3, 4)


@pytest.mark.parametrize("beta", [0.0, 0.3, 2])
@pytest.mark.parametrize("name", MASKS)
def test_penalty_on_every_counted_token_and_score_on_the_last(name, beta):
    mask = mask_named(name)
    actual = shape_rewards(tensor(SCORES), tensor(LOGPROBS, mask), tensor(REF_LOGPROBS, mask), torch.tensor(mask), beta)
    np.testing.assert_allclose(actual, episodes.shaped_rewards(SCORES, LOGPROBS, REF_LOGPROBS, mask, beta))


def test_by_hand():
    rewards = shape_rewards(
        scores=torch.tensor([10.0, 20.0]),
        logprobs=torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]]),
        ref_logprobs=torch.tensor([[-2.0, -2.0, -1.0], [-1.5, -9.0, -9.0]]),
        mask=torch.tensor([[1, 1, 1], [1, 0, 0]]),
        beta=0.5,
    )
    assert rewards.tolist() == [[-0.5, 0.0, 11.0], [19.75, 0.0, 0.0]]
