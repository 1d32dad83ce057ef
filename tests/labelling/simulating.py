"""People of known habits, who judge pairs whose better side is known by how much."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from truing.labelling.items import MIDDLE
from truing.labelling.judgements import Judgement

Habit = Literal["honest", "careless", "spammer", "left", "longer", "contrary", "hasty"]


def said(people: Mapping[str, Habit], items: int, each: int, seed: int, controls: int = 0) -> list[Judgement]:
    """`each` of the people, drawn anew, judge each of the items and controls.

    Honest ones see the true difference with noise of their own, so that two of them agree on about 62% of the items. A
    careless one reads half of them and says anything on the others, a spammer reads none; half of what the left-hander
    judges is for the left, and 60% of what the lover of length does for the longer.
    """
    draws = np.random.default_rng(seed)
    found = []
    for item in range(items + controls):
        is_control = item >= items
        better = float(4 * draws.choice([-1, 1]) if is_control else draws.normal(0, 1.5))
        longer = int(draws.choice([-1, 1]))
        for name in draws.permutation(list(people))[:each]:
            is_flipped = bool(draws.random() < 0.5)
            value = _vote(people[name], better, longer, is_flipped, draws)
            kind = "control" if is_control else "random" if item % 5 == 0 else "chosen"
            known = (1 if better > 0 else 7) if is_control else None
            seconds = 1.0 if people[name] == "hasty" else 10.0
            found.append(Judgement(item, kind, str(name), value, is_flipped, seconds, known, None, 60, longer))
    return found


def _vote(habit: Habit, better: float, longer: int, is_flipped: bool, draws: np.random.Generator) -> int:
    steps = int(np.clip(round(1.2 * (better + draws.logistic(0, 0.6))), -3, 3))
    if habit == "contrary":
        return MIDDLE + steps
    if habit == "spammer" or (habit == "careless" and draws.random() < 0.5):
        return int(draws.integers(1, 8))
    if habit == "left" and draws.random() < 0.5:
        return MIDDLE + (1 if is_flipped else -1) * int(draws.integers(1, 4))
    if habit == "longer" and draws.random() < 0.6:
        return MIDDLE - 2 * longer
    return MIDDLE - steps
