"""The mathematics: tensors in, tensors out. No I/O, no modules, no configuration."""

from truing.functional.advantages import gae
from truing.functional.best_of_n import best_of_n_kl_bound, best_of_n_mean
from truing.functional.comparisons import (
    Compared,
    chance_of_weaker,
    evidence_of_loss,
    followed,
    pooled_log_odds,
    smoothed_strengths,
)
from truing.functional.correlation import correlation_interval, pearson, within_groups
from truing.functional.frontier import FrontierFit, fit_frontier
from truing.functional.groups import group_centred, group_normalised, has_contrast, leave_one_out
from truing.functional.importance import truncated_importance_weights
from truing.functional.kl import kl_estimate, kl_exact
from truing.functional.logprobs import token_entropy, token_logprobs
from truing.functional.masked import masked_mean, masked_whiten
from truing.functional.members import mean_less_variance, soft_minimum
from truing.functional.policy_gradient import (
    clipped_policy_loss,
    constant_mean,
    mean_ratio,
    response_mean,
    token_ratio,
    whole_ratio,
)
from truing.functional.ppo import ppo_policy_loss, ppo_value_loss
from truing.functional.preference import bradley_terry_loss, dpo_loss, log_odds, orpo_loss, simpo_loss
from truing.functional.ratings import kto_loss, kto_reference_point
from truing.functional.rewards import shape_rewards
from truing.functional.statistics import (
    CalibrationBin,
    best_temperature,
    calibration_bins,
    distinct_n,
    expected_calibration_error,
    explained_variance,
    mean_interval,
    mean_interval_of_few,
    wilson_interval,
)

__all__ = [
    "CalibrationBin",
    "Compared",
    "FrontierFit",
    "best_of_n_kl_bound",
    "best_of_n_mean",
    "best_temperature",
    "bradley_terry_loss",
    "calibration_bins",
    "chance_of_weaker",
    "clipped_policy_loss",
    "constant_mean",
    "correlation_interval",
    "distinct_n",
    "dpo_loss",
    "evidence_of_loss",
    "expected_calibration_error",
    "explained_variance",
    "fit_frontier",
    "followed",
    "gae",
    "group_centred",
    "group_normalised",
    "has_contrast",
    "kl_estimate",
    "kl_exact",
    "kto_loss",
    "kto_reference_point",
    "leave_one_out",
    "log_odds",
    "masked_mean",
    "masked_whiten",
    "mean_interval",
    "mean_interval_of_few",
    "mean_less_variance",
    "mean_ratio",
    "orpo_loss",
    "pearson",
    "pooled_log_odds",
    "ppo_policy_loss",
    "ppo_value_loss",
    "response_mean",
    "shape_rewards",
    "simpo_loss",
    "smoothed_strengths",
    "soft_minimum",
    "token_entropy",
    "token_logprobs",
    "token_ratio",
    "truncated_importance_weights",
    "whole_ratio",
    "wilson_interval",
    "within_groups",
]
