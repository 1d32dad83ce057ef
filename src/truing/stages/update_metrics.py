"""What is measured of an update: what its episodes show of the policy, of the sources of scores and of groups."""

import math
from statistics import fmean
from typing import Any

from truing.core.experience import Experience
from truing.functional import distinct_n, explained_variance, has_contrast, masked_mean
from truing.rewards.combined import Scores
from truing.stages.objective import Scored


def rollout_metrics(scored: Scored, experience: Experience, beta: float) -> dict[str, Any]:
    """What an update's episodes show of the policy; every mean is over counted tokens or over sequences."""
    sequences, mask = scored.rollout.sequences, scored.rollout.sequences.response_mask
    metrics = {
        "score": float(scored.scores.mean()),
        "score_std": float(scored.scores.std(correction=0)),
        "objective": float((scored.rewards - beta * scored.kl).mean()),
        "kl": float(scored.kl.mean()),
        "kl_exact": float((scored.kl_exact * mask).sum(1).mean()),
        "beta": beta,
        "entropy": float(masked_mean(scored.entropy, mask)),
    }
    if scored.values is not None and experience.returns is not None:
        metrics["explained_variance"] = float(explained_variance(scored.values, experience.returns, mask))
    return metrics | {
        "length": float(sequences.drawn_lengths.float().mean()),
        "eos_rate": float(scored.rollout.finished.float().mean()),
        "distinct_2": distinct_n(sequences.said, 2),
    }


def source_metrics(scores: Scores) -> dict[str, float]:
    """What each of several sources gave, and how far a reward model's members differ, where these are numbers."""
    named = {f"update_part_{label}": part for label, part in scores.parts.items()} | {
        "member_spread": scores.spread or []
    }
    known = {name: [*filter(math.isfinite, values)] for name, values in named.items()}
    return {name: fmean(values) for name, values in known.items() if values}


def group_metrics(scored: Scored, responses_per_prompt: int) -> dict[str, float]:
    """How much of an update there is nothing to compare with: a response that dropped ones left alone is so too."""
    if responses_per_prompt == 1:
        return {}
    return {"even_groups": float((~has_contrast(scored.rewards, scored.rollout.groups)).float().mean())}
