"""Pairs whose scores, lengths and words are made to measure."""

from collections.abc import Hashable, Sequence

from truing.core.results import Check, PairCard
from truing.evaluation.pair_card import pair_card
from truing.trust.pairs import Answers, ScoredPairs


def scored(
    gaps: Sequence[float],
    longer: Sequence[int] | None = None,
    prompts: Sequence[Hashable] | None = None,
    sources: Sequence[str] = (),
    texts: tuple[Sequence[str], Sequence[str]] | None = None,
) -> ScoredPairs:
    """Pairs whose chosen side scores higher by `gaps` and is longer by so many tokens; the other has score 0, 10 long.

    Without `prompts` each pair has its own.
    """
    count = len(gaps)
    chosen, rejected = texts or (["yes"] * count, ["no"] * count)
    lengths = [10 + more for more in longer or [place % 5 - 2 for place in range(count)]]
    return ScoredPairs(
        Answers(chosen, lengths, gaps),
        Answers(rejected, [10] * count, [0.0] * count),
        list(prompts or range(count)),
        sources,
    )


def card_of(pairs: ScoredPairs) -> PairCard:
    sides = pairs.chosen, pairs.rejected
    return pair_card(*(side.scores for side in sides), *(side.lengths for side in sides))


def named(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def measured(check: Check) -> dict[str, float]:
    return {measure.name: measure.value for measure in check.measures}
