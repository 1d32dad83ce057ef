"""What an update learns from tokens that an engine drew which computes the policy otherwise than the learner."""

from dataclasses import replace

from truing.config.sections import RolloutConfig
from truing.core.experience import Experience, Rollout
from truing.functional import masked_mean, truncated_importance_weights


def corrected(experience: Experience, rollout: Rollout, settings: RolloutConfig) -> tuple[Experience, dict[str, float]]:
    """The experience of a rollout as the recipe has it corrected, and how far engine and learner were apart.

    Nothing changes, and nothing is measured, where the learner's own computation drew the tokens.
    """
    if rollout.engine_logprobs is None:
        return experience, {}
    given, mask = rollout.engine_logprobs, rollout.sequences.response_mask
    weights, stats = truncated_importance_weights(rollout.logprobs, given, mask, settings.vllm.ratio_cap)
    if rollout.drawn_logprobs is not None:  # or what was learnt since would be taken for a mismatch
        stats["engine_mismatch"] = masked_mean((rollout.drawn_logprobs - given).abs(), mask)
        stats["staleness_shift"] = masked_mean((rollout.logprobs - rollout.drawn_logprobs).abs(), mask)
    metrics = {name: float(value) for name, value in stats.items()}
    if settings.vllm.old_logprobs == "engine":
        return replace(experience, old_logprobs=given), metrics
    return replace(experience, weights=weights), metrics
