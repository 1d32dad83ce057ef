"""Does what it learnt hold: accuracy on the pairs that it learnt from, as it went, beside that on pairs held out."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from statistics import fmean
from typing import Any

from truing.core.results import Check, CheckVerdict, Measure, PairCard
from truing.trust.questions import OVERFITTING

RUNS_AWAY = 0.15
"""By how much the training accuracy is above the held-out one, and above its interval, if pairs are learnt by heart"""
LEADS = RUNS_AWAY / 2
"""The same where that has begun"""
LOSS_ROSE = 0.05
"""Nats a pair by which the held-out loss ends above its lowest on the way, where it was trained for too long"""
QUARTERS = 4


def overfitting(rows: Sequence[Mapping[str, Any]], passes: int, card: PairCard) -> Check:
    """From the metrics of each step: accuracy on its batch before it, and loss on held-out pairs at some.

    Args:
        rows: a line a step.
        passes: over the pairs.
        card: on held-out pairs, at the end.
    """
    steps = ceil(len(rows) / passes)
    each = [rows[start : start + steps] for start in range(0, len(rows), steps)]
    last = fmean(row["accuracy"] for row in each[-1])
    accuracy, ends = card.heldout_accuracy or 0.0, card.heldout_accuracy_ci95 or (0.0, 1.0)
    losses = [row["heldout_loss"] for row in rows if "heldout_loss" in row]
    rose = losses[-1] - min(losses) if losses else 0.0
    verdict: CheckVerdict = "pass"
    finding = (
        f"It ranks {last:.0%} of the last pairs that it learnt from as people did, and {accuracy:.0%} of those held out"
    )
    if last > max(ends[1], accuracy + RUNS_AWAY):
        verdict, finding = "fail", f"{finding}: it learns pairs by heart"
    elif last > max(ends[1], accuracy + LEADS) or rose >= LOSS_ROSE:
        verdict = "warn"
    finding += f". The held-out loss ended {rose:.2f} nats above its lowest on the way." if rose >= LOSS_ROSE else "."
    fresh = _quarters(each[0])
    if len(fresh) == QUARTERS:
        finding += f" Of pairs met for the first time, {fresh[0]:.0%} in the first quarter and {fresh[-1]:.0%} in the "
        finding += "last."
    measures = [
        Measure("last pass", last),
        Measure("held out", accuracy, card.heldout_accuracy_ci95),
        Measure("held-out loss above its lowest", rose),
        *(Measure(f"pass 1, quarter {number}", value) for number, value in enumerate(fresh, 1)),
        *(Measure(f"pass {number}", fmean(row["accuracy"] for row in own)) for number, own in enumerate(each[1:], 2)),
    ]
    return OVERFITTING.answered(verdict, finding, measures)


def _quarters(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Accuracy in each quarter of a pass, or of each step where there are fewer; in the first pass, on new pairs."""
    parts = min(QUARTERS, len(rows))
    ends = [round(part * len(rows) / parts) for part in range(parts + 1)]
    return [fmean(row["accuracy"] for row in rows[start:end]) for start, end in pairwise(ends)]
