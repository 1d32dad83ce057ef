"""Which log-probabilities an update starts from where another computation of the policy drew its tokens."""

from dataclasses import replace
from math import log

import pytest
import torch

from truing.config.sections import RolloutConfig
from truing.core.batches import Sequences
from truing.core.experience import Experience, Rollout
from truing.rollout.correction import corrected

SEQUENCES = Sequences.collate([[1], [2, 3]], [[4, 5, 6], [7]], pad=0)
OWN = torch.tensor([[log(0.6), log(0.4), log(0.2)], [log(0.5), 9.0, 9.0]])
ENGINE = torch.tensor([[log(0.2), log(0.5), log(0.2)], [log(0.4), -9.0, -9.0]])
ROLLOUT = Rollout(SEQUENCES, OWN, torch.tensor([True, True]), torch.arange(2), engine_logprobs=ENGINE)
EXPERIENCE = Experience(SEQUENCES, OWN, torch.ones(2, 3), torch.arange(2))


def _settings(**vllm: object) -> RolloutConfig:
    return RolloutConfig.model_validate({"engine": "vllm", "vllm": vllm})


def test_by_the_learner_a_token_counts_by_the_ratio_up_to_the_cap() -> None:
    found, metrics = corrected(EXPERIENCE, ROLLOUT, _settings(ratio_cap=2.0))
    assert found.weights is not None
    torch.testing.assert_close(found.weights, torch.tensor([[2.0, 0.8, 1.0], [1.25, 0.0, 0.0]]))
    assert found.old_logprobs is OWN
    assert round(metrics["engine_ratio_mean"], 5) == round((3.0 + 0.8 + 1.0 + 1.25) / 4, 5)
    assert (round(metrics["engine_ratio_max"], 5), metrics["engine_ratio_capped"]) == (3.0, 0.25)


def test_by_the_engine_the_ratio_starts_from_what_it_says_and_nothing_is_weighed() -> None:
    found, metrics = corrected(EXPERIENCE, ROLLOUT, _settings(old_logprobs="engine"))
    assert found.old_logprobs is ENGINE
    assert found.weights is None
    assert metrics["engine_ratio_capped"] == 0.25


def test_what_was_learnt_since_the_draw_is_weighed_and_is_no_mismatch() -> None:
    drew = torch.tensor([[log(0.3), log(0.5), log(0.2)], [log(0.4), 7.0, 7.0]])
    found, metrics = corrected(EXPERIENCE, replace(ROLLOUT, drawn_logprobs=drew), _settings(ratio_cap=2.0))
    assert found.weights is not None
    torch.testing.assert_close(found.weights, torch.tensor([[2.0, 0.8, 1.0], [1.25, 0.0, 0.0]]))
    assert metrics["engine_mismatch"] == pytest.approx(log(0.3 / 0.2) / 4)
    assert metrics["staleness_shift"] == pytest.approx((log(0.6 / 0.3) + log(0.5 / 0.4) + log(0.5 / 0.4)) / 4)
    assert metrics["engine_ratio_max"] == pytest.approx(3.0)


def test_the_learners_own_draws_stay_as_they_are() -> None:
    found, metrics = corrected(EXPERIENCE, replace(ROLLOUT, engine_logprobs=None), _settings())
    assert found is EXPERIENCE
    assert metrics == {}


def test_weights_and_an_engines_word_go_with_their_rows() -> None:
    found, _ = corrected(EXPERIENCE, ROLLOUT, _settings())
    row = found.rows([1])
    assert row.weights is not None
    torch.testing.assert_close(row.weights, torch.tensor([[1.25]]))
    assert ROLLOUT.rows([1]).engine_logprobs is not None
    assert ROLLOUT.rows([1]).engine_logprobs.tolist() == [[ENGINE[1, 0]]]  # type: ignore[union-attr]
