import math

import numpy as np
import pytest
import torch
from oracles.cases import MASKS, draw, mask_named, tensor

from truing.functional import ppo_policy_loss, truncated_importance_weights

OWN, ENGINE, ADVANTAGES = draw(0, 3, 4), draw(0, 3, 4) + draw(1, 3, 4, scale=0.8), draw(2, 3, 4)


@pytest.mark.parametrize("cap", [1.0, 2.0])
@pytest.mark.parametrize("name", MASKS)
def test_weights_and_stats_are_those_of_the_formula(name: str, cap: float) -> None:
    mask = mask_named(name)
    weights, stats = truncated_importance_weights(tensor(OWN, mask), tensor(ENGINE, mask), torch.tensor(mask), cap)
    counted = mask.astype(bool)
    ratio = np.exp(OWN - ENGINE)
    np.testing.assert_allclose(weights.numpy(), np.where(counted, np.minimum(ratio, cap), 0.0))
    expected = {
        "engine_mismatch": np.abs(OWN - ENGINE)[counted].mean() if counted.any() else 0.0,
        "engine_ratio_mean": ratio[counted].mean() if counted.any() else 0.0,
        "engine_ratio_max": ratio[counted].max(initial=0.0),
        "engine_ratio_capped": (ratio > cap)[counted].mean() if counted.any() else 0.0,
    }
    assert {key: value.item() for key, value in stats.items()} == pytest.approx(expected)


def test_a_mean_over_the_engines_draws_becomes_one_over_the_learners() -> None:
    # Three tokens, drawn as often as the engine has them likely; of the learner, the mean of f is 0.5·1 + 0.3·2 + 0.2·4
    engine, learner, f = [0.2, 0.3, 0.5], [0.5, 0.3, 0.2], [1.0, 2.0, 4.0]
    drawn = torch.tensor([[0] * 2 + [1] * 3 + [2] * 5])
    weights, stats = truncated_importance_weights(
        torch.tensor(learner).log()[drawn], torch.tensor(engine).log()[drawn], torch.ones_like(drawn), ratio_cap=10.0
    )
    assert float((weights * torch.tensor(f)[drawn]).mean()) == pytest.approx(1.9)
    assert float(stats["engine_ratio_mean"]) == pytest.approx(1.0)


def test_a_weight_scales_what_its_token_gains_and_nothing_else() -> None:
    # two tokens, ratios 1.1 and 1.5 (clipped at 1.2), gains 2 and 3, weights 0.5 and 2: −(0.5·1.1·2 + 2·1.2·3)/2
    logprobs = torch.tensor([[math.log(1.1), math.log(1.5), 99.0]], requires_grad=True)
    old, gains, weights = torch.zeros(1, 3), torch.tensor([[2.0, 3.0, 1.0]]), torch.tensor([[0.5, 2.0, math.nan]])
    mask = torch.tensor([[1, 1, 0]])
    loss, stats = ppo_policy_loss(logprobs, old, gains, mask, 0.2, weights)
    loss.backward()
    assert loss.item() == pytest.approx(-(1.1 + 7.2) / 2)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-1.1 / 2), 0.0, 0.0]]
    _, plain = ppo_policy_loss(logprobs, old, gains, mask, 0.2)
    assert stats == plain
