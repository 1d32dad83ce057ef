"""Who stands out among the people, why, and what to do about it."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist, median

from truing.core.label_quality import Estimate, Labeller, LabelQuality
from truing.functional import wilson_interval

DOUBT = 0.05
"""How often, by chance alone, anyone among people who judge alike stands out in one figure"""
FOLLOWS = 0.75
"""Of how far others follow each other: who follows them less is apart"""
FROM_HALF, FROM_OTHERS = 0.1, 0.2
"""How far the share for the left may be from one half, and that for the longer answer from everyone's"""
CONTROLS, SWAPS, HASTY = 0.8, 0.6, 0.25
"""The least share of controls found, of swaps judged alike, and the largest of votes too fast to have read"""


def with_findings(quality: LabelQuality) -> list[Labeller]:
    """The people, each with the reasons for which they stand out.

    A figure counts where it is out of bounds by more than chance: its interval is widened, by Bonferroni's correction
    for as many as there are people.
    """
    confidence = 1 - DOUBT / max(1, len(quality.people))
    return [
        replace(one, findings=[*_of_votes(one, quality, confidence), *_of_habits(one, quality, confidence)])
        for one in quality.people
    ]


def _of_votes(one: Labeller, quality: LabelQuality, confidence: float) -> Iterator[str]:
    """By what they say."""
    others = [person.slope.value for person in quality.people if person != one and person.slope.value is not None]
    if others and _highest(one.slope, confidence) < FOLLOWS * median(others):
        yield (
            "Their votes follow the others' far less than these follow each other: go through some of them together, "
            "with the guidelines, before you use them."
        )
    controls, swaps = one.behaviour.controls, one.behaviour.swaps
    if _ends(controls, confidence)[1] < CONTROLS:
        yield f"They found {controls.value:.0%} of the known answers: they may guess; look before you use their votes."
    if _ends(swaps, confidence)[1] < SWAPS:
        yield (
            f"They said the same of {swaps.value:.0%} of the items that they saw twice: they may guess, or go by the "
            "side; ask how they choose."
        )


def _of_habits(one: Labeller, quality: LabelQuality, confidence: float) -> Iterator[str]:
    """By how they say it."""
    left, longer, hasty = one.behaviour.left, one.behaviour.longer, one.behaviour.hasty
    if (side := _apart(left, 0.5, FROM_HALF, confidence)) is not None:
        yield f"They prefer the {'left' if side else 'right'} side, whatever is on it: ask them to read both first."
    usual = quality.behaviour.longer.value
    if usual is not None and (side := _apart(longer, usual, FROM_OTHERS, confidence)) is not None:
        what = "longer" if side else "shorter"
        yield f"They prefer the {what} answer far more often than others: let the guidelines say what length is worth."
    if _ends(hasty, confidence)[0] > HASTY:
        yield f"They gave {hasty.value:.0%} of their votes faster than anyone reads: ask them to take their time."


def _apart(share: Estimate, usual: float, most: float, confidence: float) -> bool | None:
    """Whether it is above what is usual or below; None where it is neither, by more than chance and than so much."""
    low, high = _ends(share, confidence)
    if share.value is None or low <= usual <= high or abs(share.value - usual) <= most:
        return None
    return share.value > usual


def _highest(estimate: Estimate, confidence: float) -> float:
    """The upper end of a normal interval; beyond all bounds where nothing is told."""
    if estimate.value is None or estimate.ci95 is None:
        return float("inf")
    error = (estimate.ci95[1] - estimate.value) / NormalDist().inv_cdf(0.975)
    return estimate.value + error * NormalDist().inv_cdf((1 + confidence) / 2)


def _ends(share: Estimate, confidence: float) -> tuple[float, float]:
    """Of a share's interval; all that is possible where nothing is told."""
    if share.value is None:
        return 0.0, 1.0
    return wilson_interval(round(share.value * share.count), share.count, confidence)
