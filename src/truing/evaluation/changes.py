"""How scores of the same prompts changed between two evaluations, and how far that can be trusted."""

import math
from collections.abc import Sequence

from truing.core.errors import RewardError
from truing.core.results import Change
from truing.functional import mean_interval, wilson_interval
from truing.rollout.episodes import NO_SCORES_HINT


def change_between(before: Sequence[float | None], after: Sequence[float | None]) -> Change:
    """Mean and 95% interval at the first evaluation, at the last, and of each prompt's own change.

    RewardError where no prompt has a number at both.
    """
    both = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    if not both:
        what = "no held-out response has a score at the first evaluation and at the last."
        raise RewardError(what, code="rewards/no-heldout-scores", hint=NO_SCORES_HINT)
    values = [value for pair in both for value in pair]
    yes_or_no, is_share = set(values) <= {0.0, 1.0}, all(0 <= value <= 1 for value in values)
    limits = (0.0, 1.0) if is_share else (-math.inf, math.inf)
    first, last = (_interval([pair[at] for pair in both], yes_or_no, limits) for at in (0, 1))
    change = _interval([b - a for a, b in both], False, (-limits[1], limits[1]))
    return Change(first[0], last[0], first[1:], last[1:], change[0], change[1:])


def _interval(values: Sequence[float], yes_or_no: bool, limits: tuple[float, float]) -> tuple[float, float, float]:
    """Mean and 95% interval, which ends where no mean can be; of answers that are 0 or 1 it is Wilson's."""
    mean, low, high = mean_interval(values)
    if yes_or_no:
        low, high = wilson_interval(round(sum(values)), len(values))
    return mean, max(low, limits[0]), min(high, limits[1])
