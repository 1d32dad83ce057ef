"""Is it right: beside three simple rules, where it is sure, whichever side is longer, and on every source?"""

import math
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from truing.core.results import Check, CheckVerdict, Measure, PairCard
from truing.core.soundness import beaten_by_length, near_chance
from truing.evaluation.pair_card import wins
from truing.functional import mean_interval
from truing.trust.pairs import ScoredPairs, share_right
from truing.trust.questions import ACCURACY, BAG_OF_WORDS, FEW, LENGTH, LONGER_WINS, MARGIN, SOURCE, too_few

THIRDS = ("least sure third", "middle third", "surest third")
SIDES = ("longer was preferred", "shorter was preferred")
APART = 0.15
"""Points between the accuracies of two kinds of pairs from which a policy would notice: one wrong answer in seven"""
SOURCES = 12
"""The largest that are told"""
LONGEST_NAME = 60
"""Characters of a source's name that are told"""


def accuracy_checks(pairs: ScoredPairs, card: PairCard, rival: Tensor | None, no_rival: str) -> Iterator[Check]:
    """Those that are answered by whether pairs are ranked as people did.

    Args:
        pairs: N scored pairs.
        card: what was measured on them as a whole.
        rival: (N,) margins of the bag of words; None where it was not asked.
        no_rival: why it was not.
    """
    few = too_few(len(pairs))
    if few:
        questions = (ACCURACY, LONGER_WINS, BAG_OF_WORDS, MARGIN, LENGTH, SOURCE)
        yield from (question.unanswered(few) for question in questions)
        return
    yield _accuracy(pairs, card)
    yield _longer_wins(pairs, card)
    yield BAG_OF_WORDS.unanswered(no_rival) if rival is None else _bag_of_words(pairs, rival)
    yield _margin(pairs)
    yield _length(pairs)
    yield _source(pairs)


def _in_words(measure: Measure) -> str:
    """A share: '92.2% [89.5%, 94.2%]'."""
    low, high = measure.ci95 or (0.0, 1.0)
    return f"{measure.value:.1%} [{low:.1%}, {high:.1%}]"


def _accuracy(pairs: ScoredPairs, card: PairCard) -> Check:
    own = share_right("accuracy", pairs.right)
    swapped = own.ci95 is not None and own.ci95[1] < 1 / 2
    doubt = ", clearly less than half: the two sides may be swapped" if swapped else ""
    finding = f"It is right on {_in_words(own)} of {len(pairs):,} pairs{doubt}."
    return ACCURACY.answered("fail" if near_chance(card) else "pass", finding, [own])


def _longer_wins(pairs: ScoredPairs, card: PairCard) -> Check:
    ruler = Measure("longer wins", card.longer_wins_accuracy or 0.0, card.longer_wins_ci95, len(pairs))
    finding = f"'The longer wins' is right on {_in_words(ruler)} of the same pairs{_lead(pairs, wins(pairs.longer))}."
    return LONGER_WINS.answered("fail" if beaten_by_length(card) else "pass", finding, [ruler])


def _bag_of_words(pairs: ScoredPairs, margins: Tensor) -> Check:
    outcomes = wins(margins)
    words = share_right("bag of words", outcomes)
    beaten = float(pairs.right.mean()) <= words.value
    finding = f"Who counts words is right on {_in_words(words)} of the same pairs{_lead(pairs, outcomes)}."
    return BAG_OF_WORDS.answered("warn" if beaten else "pass", finding, [words])


def _lead(pairs: ScoredPairs, rival: Tensor) -> str:
    """Where it is ahead of a rule, right on (N,) `rival`, by no more than chance: by how much, pair by pair."""
    mean, low, high = mean_interval((pairs.right - rival).tolist())
    if not low <= 0 < mean:
        return ""
    return f": fewer, by {100 * mean:.1f} points [{100 * low:.1f}, {100 * high:.1f}], which may be chance"


def _margin(pairs: ScoredPairs) -> Check:
    """By thirds of the absolute score difference."""
    parts = pairs.gaps.abs().argsort(stable=True).tensor_split(len(THIRDS))
    thirds = [share_right(name, pairs.right[part]) for name, part in zip(THIRDS, parts, strict=True)]
    least, surest = thirds[0].value, thirds[-1].value
    verdict: CheckVerdict = "fail" if surest <= 1 / 2 else "pass" if surest > least or surest == 1 else "warn"
    finding = f"Right on {surest:.0%} of the third of the pairs with the largest score difference, and on {least:.0%} "
    return MARGIN.answered(verdict, finding + "of that with the smallest.", thirds)


def _length(pairs: ScoredPairs) -> Check:
    """Apart for pairs whose longer side was preferred and those whose shorter side was."""
    parts = [pairs.right[pairs.longer > 0], pairs.right[pairs.longer < 0]]
    if min(map(len, parts)) < FEW:
        counts = " and ".join(f"the {side} in {len(part)}" for side, part in zip(SIDES, parts, strict=True))
        return LENGTH.unanswered(f"Of the pairs, {counts}: too few to compare.")
    sides = [share_right(name, part) for name, part in zip(SIDES, parts, strict=True)]
    apart, noise = abs(sides[0].value - sides[1].value), _noise(sides)
    weaker = min(sides, key=lambda side: side.value)
    wrong = weaker.ci95 is not None and weaker.ci95[1] < 1 / 2
    verdict: CheckVerdict = "fail" if wrong else "warn" if apart > max(APART, noise) else "pass"
    told = " and ".join(f"{_in_words(side)} of {side.count} where the {side.name}" for side in sides)
    return LENGTH.answered(verdict, f"It is right on {told}.", sides)


def _noise(sides: list[Measure]) -> float:
    """Half the 95% interval of the difference of two shares."""
    return 1.96 * math.sqrt(sum(side.value * (1 - side.value) / (side.count or 1) for side in sides))


def _source(pairs: ScoredPairs) -> Check:
    counts = Counter(source for source in pairs.sources if source)
    large = [source for source, count in counts.most_common(SOURCES) if count >= FEW]
    if not large:
        told = f"none of {len(counts)} sources has {FEW} pairs" if counts else "no row says its `source`"
        return SOURCE.unanswered(f"{told[0].upper()}{told[1:]}.")
    right, overall = pairs.right, float(pairs.right.mean())
    named = [
        share_right(source[:LONGEST_NAME], right[torch.tensor([own == source for own in pairs.sources])])
        for source in large
    ]
    worst = min(named, key=lambda source: source.value)
    high = worst.ci95[1] if worst.ci95 else 1.0
    verdict: CheckVerdict = "fail" if high < 1 / 2 else "warn" if high < overall else "pass"
    of_how_many = f"{len(named)} of {len(counts)} sources" if len(named) < len(counts) else f"{len(counts)} sources"
    finding = f"Of {of_how_many}, it is right least often on {worst.name}: {_in_words(worst)}, over all {overall:.1%}."
    return SOURCE.answered(verdict, finding, named)
