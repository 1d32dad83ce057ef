"""The report card: every question, answered or not, in one order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from truing.core.records import Sample
from truing.core.results import Check, CheckVerdict, PairCard
from truing.rewards.sources import RewardFn
from truing.trust.accuracy import accuracy_checks
from truing.trust.bag_of_words import MISSING, TextPairs, cross_validated_margins, is_installed, word_margins
from truing.trust.overfitting import overfitting
from truing.trust.pairs import ScoredPairs
from truing.trust.probes import probe_checks
from truing.trust.questions import ACCURACY, CALIBRATION, LONGER_WINS, OVERFITTING, QUESTIONS, too_few
from truing.trust.scale import calibration, length_correlation

ORDER = [question.name for question in QUESTIONS]
GRADES: tuple[CheckVerdict, ...] = ("fail", "warn", "pass", "not measured")
"""The worst first"""


@dataclass(frozen=True)
class Learning:
    """How a reward model learnt."""

    pairs: TextPairs
    """From which it did"""
    metrics: Sequence[Mapping[str, Any]]
    """Of each step"""
    passes: int
    """Over its pairs"""


def report_checks(
    pairs: ScoredPairs,
    card: PairCard,
    reward: RewardFn,
    samples: Sequence[Sample],
    log_odds: bool = True,
    learning: Learning | None = None,
) -> list[Check]:
    """All questions, of a reward model on pairs that it has not learnt from.

    Args:
        pairs: as it scored them.
        card: the same pairs, measured as a whole.
        reward: scores changed answers.
        samples: answers to change.
        log_odds: whether score differences claim to be log-odds.
        learning: where it is known; the bag of words learns from the same pairs, and is cross-validated else.
    """
    rival, no_rival = _rival(pairs, learning.pairs if learning else None)
    unseen = OVERFITTING.unanswered("How it learnt is not known here.")
    checks = [
        *accuracy_checks(pairs, card, rival, no_rival),
        calibration(pairs, card, log_odds),
        length_correlation(pairs, card),
        overfitting(learning.metrics, learning.passes, card) if learning else unseen,
        *probe_checks(reward, samples, pairs.scale, pairs.gaps),
    ]
    return sorted(checks, key=lambda check: ORDER.index(check.name))


def worst(checks: Sequence[Check]) -> CheckVerdict:
    """The verdict on all of them."""
    return min((check.verdict for check in checks), key=GRADES.index, default="not measured")


def findings(checks: Sequence[Check]) -> list[str]:
    """What fails, in sentences: how it learnt in full, all else in one. What `core.soundness` tells is left out."""
    failed = {check.name: check for check in checks if check.verdict == "fail"}
    learnt = [failed.pop(question.name) for question in (CALIBRATION, OVERFITTING) if question.name in failed]
    others = [f"'{check.title}'" for name, check in failed.items() if name not in (ACCURACY.name, LONGER_WINS.name)]
    told = [f"{check.finding} {check.advice}" for check in learnt]
    return [*told, f"Its report card fails at {', '.join(others)}: see there what to do."] if others else told


def _rival(pairs: ScoredPairs, learnt: TextPairs | None) -> tuple[Tensor | None, str]:
    """(N,) margins of the bag of words, or why there are none."""
    few = too_few(len(pairs))
    if few:
        return None, few
    if not is_installed():
        return None, MISSING
    asked = TextPairs(pairs.chosen.texts, pairs.rejected.texts)
    margins = word_margins(learnt, asked) if learnt else cross_validated_margins(asked, pairs.groups.tolist())
    return margins, ""
