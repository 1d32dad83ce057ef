"""How the embedded world writes a review: clauses in one mood, two and two joined into sentences.

Four kinds of reviewer: the plain one; the flat one, who says little for or against; the rambling one, who leaves the
subject at the end; and the repetitive one, who says a clause again.
"""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Literal, TypeVar

from truing.core import rng
from truing.worlds.language import ASPECTS, DEGREE, NEUTRAL, OPINIONS, STRAY, VALENCE, VERBS, subject

T = TypeVar("T")
Kind = Literal["plain", "flat", "rambling", "repetitive"]

CLAUSES = {1: 0.15, 2: 0.35, 3: 0.3, 4: 0.2}
"""How many clauses a plain review has, and how often."""
TEMPLATES = dict(zip(OPINIONS, (3.0, 2.0, 2.0, 1.0, 1.0, 1.0), strict=True))
"""How often an opinion takes each form, relative to the others."""


class Chance:
    """The random choices of one text, in order: a pure function of (seed, purpose, position)."""

    def __init__(self, seed: int, purpose: str, *position: int) -> None:
        self._numbers = iter(rng.uniform(seed, purpose, *position, count=128).tolist())

    def uniform(self) -> float:
        """A number from [0, 1)."""
        return float(next(self._numbers))

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self.uniform() * len(options))]

    def weigh(self, options: Mapping[T, float]) -> T:
        """One of the options, in proportion to its weight."""
        ends = list(accumulate(options.values()))
        return list(options)[bisect(ends, self.uniform() * ends[-1])]


def review(prompt: str, kind: Kind, chance: Chance) -> str:
    """A review that answers `prompt`, of 1 to 4 clauses (more where it rambles or repeats itself)."""
    clauses = _clauses(prompt, chance, flat=kind == "flat")
    extra = chance.pick((1, 2))
    if kind == "rambling":
        clauses += [chance.pick(STRAY) for _ in range(extra)]
    if kind == "repetitive":
        clauses += [chance.pick(clauses)] * extra
    return _sentences(clauses, chance)


def _clauses(prompt: str, chance: Chance, flat: bool) -> list[str]:
    """Clauses that never use an aspect or an adjective twice; the aspect that was asked about comes first.

    The mood, to which adjectives keep close, is a sum of uniforms: mean 0.3, deviation 1, from -2.7 to 3.3.
    """
    product, asked = subject(prompt)
    assert product is not None
    mood = 0.3 + 2.0 * (chance.uniform() + chance.uniform() + chance.uniform() - 1.5)
    aspects = list(ASPECTS[product])
    likely = {quality: math.exp(-2 * abs(valence - (0.0 if flat else mood))) for quality, valence in VALENCE.items()}
    clauses: list[str] = []
    for _ in range(chance.weigh(CLAUSES)):
        if chance.uniform() < (0.7 if flat else 0.12):
            clauses.append(chance.pick([clause for clause in NEUTRAL if clause not in clauses]))
            continue
        aspect = asked if asked in aspects else chance.pick(aspects)
        quality = chance.weigh(likely)
        aspects.remove(aspect)
        del likely[quality]
        clauses.append(_opinion(product, aspect, quality, chance))
    return clauses


def _opinion(product: str, aspect: str, quality: str, chance: Chance) -> str:
    """A template with its slots filled; half of the adjectives that praise or blame get an adverb."""
    degree = chance.pick(list(DEGREE)) + " " if VALENCE[quality] and chance.uniform() < 0.5 else ""
    slots = {"ASPECT": aspect, "PRODUCT": product, "VERB": chance.pick(VERBS), "QUALITY": degree + quality}
    return " ".join(slots.get(word, word) for word in chance.weigh(TEMPLATES).split())


def _sentences(clauses: list[str], chance: Chance) -> str:
    """Clauses joined two and two by 'and', or 'but' where the judgement turns, or left alone as sentences."""
    text, joined = clauses[0], False
    for before, clause in pairwise(clauses):
        joined = not joined and chance.uniform() < 0.5
        join = "but" if _valence(before) * _valence(clause) < 0 else "and"
        text += f" {join if joined else '.'} {clause}"
    return text + " ."


def _valence(clause: str) -> float:
    return VALENCE.get(clause.split()[-1], 0.0)
