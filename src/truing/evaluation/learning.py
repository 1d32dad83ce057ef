"""Signs that a stage has learnt nothing, or nothing that holds, each as a sentence with what to do about it."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from truing.core.errors import TrainingError
from truing.core.results import Change
from truing.evaluation.drift import NONE_ENDS

Rows = Sequence[Mapping[str, Any]]
"""Lines of metrics.jsonl"""

UNTAUGHT = 0.01
"""Nats a token by which the held-out loss falls where demonstrations teach anything"""
STILL = 0.01
"""Nats a sequence from the reference, below which a policy has not moved"""
FALL = 1.0
"""Nats a response by which preferred ones became less likely, from which that is told: they are e times rarer"""
HARDLY_CLIPPED = 1e-3
"""Share of tokens at the clip range, below which the steps of an update are too small to count"""
LAST = 5
"""Updates over whose figures the end of a stage is told"""
RATIO_ODD, RATIO_WRONG = {"float32": 1e-3, "bfloat16": 0.1}, {"float32": 0.05, "bfloat16": 0.5}
"""|ratio − 1| on a first minibatch beyond what rounding explains, and beyond what can be learnt with, by compute.dtype:
in bfloat16 rounding alone gives 0.04 on two layers"""
DISAGREE = "sampler and learner do not compute the same policy"
RATIO_CAUSES = (
    "Likely causes: a model whose answer to a row depends on the rows beside it or on padding (a state-space or "
    "mixture-of-experts model), dropout that is still on, a custom layer that computes otherwise with a cache, or "
    "bfloat16 (compute.dtype: float32 rounds less)."
)


def demonstration_findings(before: float, after: float, stage: str) -> list[str]:
    """Of a stage that learns to say demonstrations: its held-out loss before and after, in nats a token."""
    if before - after >= UNTAUGHT:
        return []
    went = f"from {before:.2f} to {after:.2f} nats a token"
    if after - before >= UNTAUGHT:
        return [
            f"The held-out loss rose, {went}: what was learnt holds for the rows that it was learnt from alone. Try a "
            f"lower {stage}.optimiser.learning_rate, fewer {stage}.epochs, or more rows."
        ]
    return [
        f"The held-out loss hardly moved, {went}: the demonstrations taught next to nothing, unless the base said such "
        f"things before. Try a higher {stage}.optimiser.learning_rate (three to ten times) or more {stage}.epochs."
    ]


def still_finding(kl: float | None, stage: str, beta_key: str | None) -> list[str]:
    """A policy that ends where it began: its KL to the reference in nats a sequence, on held-out prompts."""
    if kl is None or abs(kl) >= STILL:
        return []
    lower = f", a lower {stage}.{beta_key}," if beta_key else ""
    return [
        f"The policy did not move: it ends {abs(kl):.2g} nats a sequence from its start. Try a higher "
        f"{stage}.optimiser.learning_rate (three to ten times){lower} or a longer stage."
    ]


def chosen_falls_warning(change: Change) -> list[str]:
    """Preferred responses that became less likely: their log-probability in nats a response, on held-out pairs."""
    if change.direction != "fell" or change.first - change.last < FALL:
        return []
    return [
        f"Held-out responses that were preferred became less likely, from {change.first:.1f} to {change.last:.1f} nats "
        "a response: the loss asks only that the others become rarer still. A lower learning rate, fewer epochs or an "
        "SFT term keeps them."
    ]


def online_findings(rows: Rows, stage: str, steps: int, dtype: str) -> list[str]:
    """Of a stage that learnt from its own responses.

    Args:
        rows: its metrics; the first are those of the evaluation before it began.
        stage: its section in the recipe.
        steps: optimiser steps of an update; with one alone, no ratio ever leaves 1 and nothing is clipped.
        dtype: of the frozen weights.
    """
    updates = rows[1:]
    return [
        *still_finding(rows[-1].get("heldout_kl", math.inf), stage, "kl.beta"),
        *(_clipping(_values(updates, "clip_fraction"), stage) if steps > 1 else []),
        *_critic(_values(updates, "explained_variance")[-LAST:], stage),
        *_ratio(max(_values(updates, "ratio_max_deviation"), default=0.0), dtype),
    ]


def endless_finding(first: float, last: float, longest: int, ends: Sequence[str]) -> list[str]:
    """Responses that are all cut off, by the share that ended by themselves at the first evaluation and at the last.

    longest: tokens after which a response is cut off. ends: what ends one.
    """
    if last >= NONE_ENDS:
        return []
    known = f"a response ends at {' or '.join(map(repr, ends))}" if ends else "the tokenizer names no end token"
    if first >= NONE_ENDS:
        cause = (
            f"At the start {first:.0%} did, so this stage taught it: read its rows, or where it learns from rewards, "
            "raise rewards.missing_eos.value, the price of not ending."
        )
    else:
        cause = (
            f"Nor did they at the start: {known}, which the model does not say. Look whether that is how its texts "
            f"end, teach it on demonstrations (sft), or raise rollout.max_new_tokens ({longest})."
        )
    return [f"{1 - last:.0%} of the responses are cut off, and hardly any ends by itself. {cause}"]


def alike_finding(signs: Sequence[str], beta: str | None) -> list[str]:
    """Answers that grew alike, by the signs of it; beta is the key of what holds a policy to its start, if any does."""
    if not signs:
        return []
    higher = f"try a higher {beta}, or " if beta else ""
    return [f"The held-out answers grew alike: {'; '.join(signs)}. Read them; then {higher}end the stage earlier."]


def refuse_ratio(deviation: float, dtype: str) -> None:
    """Ends a stage whose sampler and learner are two policies.

    Raises:
        TrainingError: the ratio is off by more than rounding could ever give.
    """
    if deviation > RATIO_WRONG[dtype]:
        what = f"before anything was learnt, a probability ratio was {deviation:.2g} away from 1: {DISAGREE}."
        raise TrainingError(what, code="training/ratio", hint=f"{RATIO_CAUSES} Nothing of this step was saved.")


def _clipping(fractions: Sequence[float], stage: str) -> list[str]:
    if not fractions or fmean(fractions) >= HARDLY_CLIPPED:
        return []
    return [
        f"Only {fmean(fractions):.2%} of the tokens reached the clip range: an update's steps are small. Try a higher "
        f"{stage}.optimiser.learning_rate (three to ten times) or more {stage}.epochs to learn more from an update."
    ]


def _critic(explained: Sequence[float], stage: str) -> list[str]:
    if not explained or median(explained) >= 0:
        return []
    return [
        f"The critic predicts nothing of the returns (explained variance {median(explained):.2f} at the end), so "
        f"advantages are mostly noise: raise {stage}.critic_learning_rate, or run more {stage}.updates."
    ]


def _ratio(deviation: float, dtype: str) -> list[str]:
    if deviation <= RATIO_ODD[dtype]:
        return []
    return [
        f"Before anything was learnt, a probability ratio was {deviation:.2g} away from 1, more than rounding: "
        f"{DISAGREE}. {RATIO_CAUSES}"
    ]


def _values(rows: Rows, name: str) -> list[float]:
    return [row[name] for row in rows if row.get(name) is not None]
