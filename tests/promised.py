"""The keys that a run's files are promised to have, at least."""

RESULT: dict[str, set[str]] = {
    "sft": {"heldout_loss", "heldout_loss_before"},
    "reward": {"heldout_accuracy", "heldout_accuracy_ci95", "heldout_pairs", "longer_wins_accuracy", "ece"},
    "dpo": {"steps", "heldout_accuracy", "heldout_accuracy_ci95", "heldout_pairs", "longer_wins_accuracy", "kl_last"},
    "ppo": {
        "steps",
        "episodes",
        "score_first",
        "score_last",
        "kl_last",
        "entropy_last",
        "eos_rate_last",
        "length_last",
        "stopped_by",
    },
}
"""Of result.json, by kind of stage"""

PPO_METRICS = {
    "step",
    "episodes",
    "score",
    "kl",
    "kl_exact",
    "beta",
    "entropy",
    "clip_fraction",
    "approx_kl",
    "ratio_max_deviation",
    "value_loss",
    "explained_variance",
    "length",
    "eos_rate",
    "distinct_2",
    "rollout_s",
    "score_s",
    "learn_s",
}
"""Of every update in ppo/metrics.jsonl"""
