"""How good the labellers are: whether they agree, what sways them, and who stands out."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import median

import krippendorff
import numpy as np
import torch

from truing.core import rng
from truing.core.label_quality import Behaviour, Estimate, Labeller, LabelQuality
from truing.functional import followed, pooled_log_odds, wilson_interval
from truing.labelling.database import Database
from truing.labelling.items import MIDDLE, MIDDLES, STEPS, Mode
from truing.labelling.judgements import Judgement, agree, by_item, judgements
from truing.labelling.outliers import with_findings

FEW_VOTES = 10
"""Fewer trials than this are too few for a share"""
FEW_CONTROLS = 5
"""The same where a good share is near 1"""
FEW_ITEMS = 20
"""Fewer shared items than this are too few for alpha, or for how far somebody follows the others"""
DRAWS = 500
"""Samples of the items, drawn with replacement, for the interval of alpha"""
READ = 12.0
"""Words a second, three times as many as people read (238 a minute: Brysbaert 2019): faster is not read"""
SPREAD = 2.0
"""Deviation of log-odds between items, and of how far people follow them: wide beside what votes say"""
Votes = dict[int, list[Judgement]]
"""Those on each item that are learnt from"""


def label_quality(database: Database, mode: Mode) -> LabelQuality:
    """Of all that people said so far."""
    return quality_of(judgements(database), mode)


def quality_of(found: Sequence[Judgement], mode: Mode) -> LabelQuality:
    """Of these judgements."""
    items = by_item(found)
    quicker, slower = _halves(found)
    quality = LabelQuality(
        mode=mode,
        votes=len(found),
        items=len(items),
        shared_items=sum(len(votes) > 1 for votes in items.values()),
        alpha=alpha(items.values(), mode),
        alpha_random=alpha([votes for votes in items.values() if votes[0].kind == "random"], mode),
        agreement=_agreement(items, mode),
        quicker=_agreement(items, mode, quicker),
        slower=_agreement(items, mode, slower),
        behaviour=_behaviour(found, mode),
        people=[_labeller(name, found, items, mode) for name in dict.fromkeys(one.person for one in found)],
    )
    return replace(quality, people=with_findings(quality))


def alpha(items: Iterable[Sequence[Judgement]], mode: Mode) -> Estimate:
    """Krippendorff's alpha over the items that several people judged, with an interval by a bootstrap over items.

    1 − observed / expected disagreement, ordinal for seven steps and nominal for yes and no: 1 where all say the same,
    0 as by chance. None where all votes are alike, since nothing is to be told apart then. Krippendorff 2011,
    "Computing Krippendorff's alpha-reliability".
    """
    counts = _value_counts(items, mode)
    if not _are_enough(counts):
        return Estimate(len(counts))
    picks = (
        (rng.uniform(0, "label quality, bootstrap", draw, count=len(counts)) * len(counts)).astype(int)
        for draw in range(DRAWS)
    )
    samples = [_alpha(counts[pick], mode) for pick in picks]
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return Estimate(len(counts), _alpha(counts, mode), (float(low), float(high)))


def _value_counts(items: Iterable[Sequence[Judgement]], mode: Mode) -> np.ndarray:
    """(shared items, steps): how many people said each."""
    low, high = STEPS[mode]
    values = [[one.value - low for one in votes] for votes in items if len(votes) > 1]
    counts = [np.bincount(one, minlength=high - low + 1) for one in values]
    return np.array(counts, dtype=int).reshape(-1, high - low + 1)


def _are_enough(counts: np.ndarray) -> bool:
    return len(counts) >= FEW_ITEMS and bool(np.count_nonzero(counts.sum(0)) > 1)


def _alpha(counts: np.ndarray, mode: Mode) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):  # a sample may have one step alone, and then no alpha
        return float(
            krippendorff.alpha(value_counts=counts, level_of_measurement="nominal" if mode == "yes-no" else "ordinal")
        )


def _agreement(items: Votes, mode: Mode, of: set[int] | None = None) -> Estimate:
    """Of pairs of votes on one item, the share that agree; only pairs with one of these votes, by `id`, if given."""
    agreeing, pairs, shared = 0, 0, 0
    for votes in items.values():
        held = [
            agree(one.value, other.value, mode)
            for one, other in combinations(votes, 2)
            if of is None or id(one) in of or id(other) in of
        ]
        agreeing, pairs, shared = agreeing + sum(held), pairs + len(held), shared + bool(held)
    if shared < FEW_VOTES:
        return Estimate(shared)
    # pairs of one item share votes: the interval is that of as many trials as there are items
    return Estimate(shared, agreeing / pairs, wilson_interval(round(shared * agreeing / pairs), shared))


def _share(outcomes: Iterable[bool], few: int = FEW_VOTES) -> Estimate:
    """Of those that are true, with Wilson's interval."""
    counted = list(outcomes)
    right, total = sum(counted), len(counted)
    return Estimate(total) if total < few else Estimate(total, right / total, wilson_interval(right, total))


def _halves(found: Iterable[Judgement]) -> tuple[set[int], set[int]]:
    """Votes by `id`: the half that took each person the least time, and the other."""
    timed: dict[str, list[Judgement]] = defaultdict(list)
    for one in found:
        if one.is_own and one.seconds is not None:
            timed[one.person].append(one)
    quicker, slower = set[int](), set[int]()
    for votes in timed.values():
        votes.sort(key=lambda one: one.seconds or 0.0)
        quicker.update(map(id, votes[: len(votes) // 2]))
        slower.update(map(id, votes[(len(votes) + 1) // 2 :]))
    return quicker, slower


def _labeller(name: str, found: Sequence[Judgement], items: Votes, mode: Mode) -> Labeller:
    own = [one for one in found if one.person == name]
    paces = [one.seconds for one in own if one.seconds is not None]
    without = {item: [one for one in votes if one.person != name] for item, votes in items.items()}
    return Labeller(
        name,
        len(own),
        median(paces) if paces else None,
        _agreement(items, mode, set(map(id, own))),
        _alpha_without(without, mode),
        _follows(own, without, mode),
        _behaviour(own, mode),
        findings=[],
    )


def _alpha_without(others: Votes, mode: Mode) -> float | None:
    """That of the votes which are left without one person's."""
    counts = _value_counts(others.values(), mode)
    return _alpha(counts, mode) if _are_enough(counts) else None


def _follows(own: Sequence[Judgement], others: Votes, mode: Mode) -> Estimate:
    """How far their votes follow the log-odds of the others' votes."""
    votes = [one for one in own if one.is_own and others[one.item]]
    if len(votes) < FEW_ITEMS:
        return Estimate(len(votes))
    wins = [sum(_preference(other, mode) for other in others[one.item]) for one in votes]
    log_odds = pooled_log_odds(_tensor(wins), _tensor(len(others[one.item]) for one in votes), SPREAD)
    value, error = followed(log_odds, _tensor(_preference(one, mode) for one in votes), SPREAD)
    return Estimate(len(votes), value, (value - 1.96 * error, value + 1.96 * error))


def _preference(one: Judgement, mode: Mode) -> float:
    """1 above the middle, which is for the second answer or for good, 0 below it, ½ on it."""
    return 0.5 if one.value == MIDDLES[mode] else float(one.value > MIDDLES[mode])


def _tensor(values: Iterable[float]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def _behaviour(found: Sequence[Judgement], mode: Mode) -> Behaviour:
    decided = [one for one in found if mode == "pairs" and one.outcome]
    unequal = [one for one in decided if one.is_own and one.longer]
    timed = [one for one in found if one.seconds is not None]
    controls = [one for one in found if one.known is not None]
    first = {(one.person, one.item): one for one in found if one.is_own}
    swaps = [(first.get((one.person, one.swap_of or 0)), one) for one in found if one.kind == "swap"]
    twice = [agree(before.value, again.value, mode) for before, again in swaps if before is not None]
    return Behaviour(
        left=_share(one.outcome == (-1 if one.is_flipped else 1) for one in decided),
        longer=_share(one.outcome == one.longer for one in unequal),
        hasty=_share(one.words > READ * (one.seconds or 0.0) for one in timed),
        controls=_share((one.outcome * (MIDDLE - (one.known or 0)) > 0 for one in controls), FEW_CONTROLS),
        swaps=_share(twice, FEW_CONTROLS),
    )
