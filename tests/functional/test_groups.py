"""Advantages within groups, by the formulas over the members of each, one by one."""

import statistics

import pytest
import torch

from truing.functional import group_centred, group_normalised, has_contrast, leave_one_out

REWARDS = [3.0, -1.0, 0.5, 2.0, 7.0, 7.0, 4.0]
GROUPS = [5, 9, 5, 9, 2, 2, 1]
"""A pair and a pair apart, one pair alike, and one alone"""
MEMBERS = [[REWARDS[j] for j in range(7) if GROUPS[j] == GROUPS[i]] for i in range(7)]


def tensors(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(REWARDS, dtype=dtype), torch.tensor(GROUPS)


def test_leave_one_out_is_against_the_mean_of_the_others() -> None:
    others = [[REWARDS[j] for j in range(7) if GROUPS[j] == GROUPS[i] and j != i] for i in range(7)]
    expected = [REWARDS[i] - statistics.fmean(others[i]) if others[i] else 0.0 for i in range(7)]
    assert leave_one_out(*tensors()).tolist() == pytest.approx(expected)


def test_centred_is_against_the_mean_of_all() -> None:
    expected = [REWARDS[i] - statistics.fmean(MEMBERS[i]) for i in range(7)]
    assert group_centred(*tensors()).tolist() == pytest.approx(expected)


def test_normalised_is_in_deviations_of_the_group() -> None:
    deviations = [statistics.stdev(own) if len(own) > 1 else 0.0 for own in MEMBERS]
    expected = [
        (REWARDS[i] - statistics.fmean(MEMBERS[i])) / (deviations[i] + 1e-4) if deviations[i] else 0.0 for i in range(7)
    ]
    assert group_normalised(*tensors()).tolist() == pytest.approx(expected)


def test_a_group_has_contrast_where_its_rewards_differ() -> None:
    assert has_contrast(*tensors()).tolist() == [len(set(own)) > 1 for own in MEMBERS]


@pytest.mark.parametrize("advantages", [leave_one_out, group_centred, group_normalised])
def test_what_all_of_a_group_have_alike_changes_nothing(advantages) -> None:
    rewards, groups = tensors()
    shifted = rewards + 100.0 * groups
    torch.testing.assert_close(advantages(shifted, groups), advantages(rewards, groups))


@pytest.mark.parametrize("advantages", [leave_one_out, group_centred, group_normalised])
@pytest.mark.parametrize("score", [0.1, 1000.1, 12345.678])
@pytest.mark.parametrize("size", [3, 4, 7])
def test_responses_that_all_score_alike_have_no_advantage(advantages, score: float, size: int) -> None:
    """Nor by rounding, which a deviation of the same size would blow up to one."""
    rewards, groups = torch.full((size,), score), torch.zeros(size, dtype=torch.int64)
    assert advantages(rewards, groups).tolist() == [0.0] * size
