"""The language of the embedded world: its words, its openings and the small grammar that writes its reviews.

A clause template is words with slots in capitals. The same templates write reviews here and recognise grammatical
clauses in `truing.data.world`, so the two cannot disagree.
"""

import math
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Literal, TypeVar

from truing import draws

T = TypeVar("T")
Kind = Literal["plain", "flat", "rambling", "repetitive"]

ASPECTS = {
    "kettle": ("handle", "lid", "switch", "cable", "price"),
    "lamp": ("light", "stand", "switch", "cable", "price"),
    "phone": ("screen", "battery", "sound", "case", "size"),
    "laptop": ("screen", "battery", "keyboard", "case", "weight"),
    "camera": ("lens", "battery", "screen", "case", "weight"),
    "chair": ("seat", "frame", "finish", "colour", "price"),
    "tent": ("frame", "zip", "size", "weight", "colour"),
    "jacket": ("zip", "colour", "size", "finish", "price"),
    "guitar": ("sound", "finish", "case", "colour", "weight"),
    "bicycle": ("frame", "seat", "light", "colour", "weight"),
    "blender": ("lid", "switch", "cable", "sound", "handle"),
    "radio": ("sound", "battery", "handle", "size", "price"),
}
"""The five aspects of each product that a review of it may speak of."""

VALENCE = {
    **dict.fromkeys(("superb", "perfect", "amazing", "wonderful", "fantastic", "brilliant"), 3.0),
    **dict.fromkeys(("excellent", "great", "lovely", "impressive", "delightful", "splendid"), 2.0),
    **dict.fromkeys(("good", "nice", "pleasant", "pleasing", "likeable", "sensible"), 1.3),
    **dict.fromkeys(("neat", "fine", "decent", "fair", "tidy", "adequate"), 0.7),
    **dict.fromkeys(("okay", "average", "ordinary", "unremarkable"), 0.0),
    **dict.fromkeys(("dull", "odd", "bland", "mediocre", "tiresome"), -0.7),
    **dict.fromkeys(("weak", "clumsy", "shabby", "crude", "faulty", "unpleasant"), -1.3),
    **dict.fromkeys(("poor", "bad", "ugly", "nasty", "annoying", "disappointing"), -2.0),
    **dict.fromkeys(("awful", "terrible", "horrible", "useless", "dreadful"), -3.0),
}
"""How good each adjective is, from -3 to 3."""

DEGREE = {
    "slightly": 0.4,
    "somewhat": 0.6,
    "fairly": 0.8,
    "rather": 0.9,
    "quite": 1.1,
    "really": 1.3,
    "very": 1.4,
    "truly": 1.5,
    "extremely": 1.8,
    "incredibly": 2.0,
}
"""What an adverb multiplies the valence of its adjective by."""

VERBS = ("is", "was", "feels", "seems")
LEADS = ("review of", "opinion on", "notes on", "verdict on", "thoughts on", "report on")
TIMES = ("", "after a day", "after a week", "after a month", "after a year")

OPINIONS = (
    "the ASPECT VERB QUALITY",
    "its ASPECT VERB QUALITY",
    "i find the ASPECT QUALITY",
    "it VERB QUALITY",
    "this PRODUCT VERB QUALITY",
    "i would call it QUALITY",
)
"""Clauses that judge. QUALITY is an adjective, perhaps with an adverb before it."""

NEUTRAL = (
    "i use it every day",
    "it came in a box",
    "i bought it last month",
    "it does the job",
    "we keep it at home",
    "there is not much to say",
    "i have had it for a year",
)
"""Clauses that keep to the subject and say nothing."""

STRAY = (
    "my cousin sails boats on sunday",
    "the weather was cold near the harbour",
    "our neighbour paints tomatoes",
    "the train to the city was late",
    "my uncle sings in the garden",
    "the dog sleeps under a tree",
    "someone told a story over dinner",
)
"""Clauses that leave the subject."""

JOINS = (".", "and", "but")


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the world once, in a fixed order."""
    slots = {"ASPECT", "PRODUCT", "VERB", "QUALITY"}
    phrases = (*OPINIONS, *NEUTRAL, *STRAY, *LEADS, *TIMES, "the and its , : ? ! .", *JOINS, *VERBS, *DEGREE, *VALENCE)
    aspects = [aspect for own in ASPECTS.values() for aspect in own]
    words = [word for phrase in (*phrases, *ASPECTS, *aspects) for word in phrase.split() if word not in slots]
    return tuple(dict.fromkeys(words))


@cache
def clause_pattern() -> re.Pattern[str]:
    """Matches one grammatical clause in full; the groups `degree` and `quality` are its judgement, if it has one."""
    choice = {
        "ASPECT": "(?:" + "|".join(sorted({aspect for own in ASPECTS.values() for aspect in own})) + ")",
        "PRODUCT": "(?:" + "|".join(ASPECTS) + ")",
        "VERB": "(?:" + "|".join(VERBS) + ")",
    }
    heads = [" ".join(choice.get(word, word) for word in template.split()[:-1]) for template in OPINIONS]
    quality = f"(?:(?P<degree>{'|'.join(DEGREE)}) )?(?P<quality>{'|'.join(VALENCE)})"
    return re.compile(f"(?:{'|'.join(heads)}) {quality}|" + "|".join((*NEUTRAL, *STRAY)))


def stray_words() -> frozenset[str]:
    """Words that only the stray clauses use."""
    on_topic = " ".join((*OPINIONS, *NEUTRAL, *LEADS, *TIMES)).split()
    return frozenset(" ".join(STRAY).split()) - frozenset(on_topic)


@cache
def openings() -> tuple[str, ...]:
    """All prompts of the world: product, perhaps one of its aspects, form and time (2,160)."""
    return tuple(
        " ".join(f"{lead} the {product} {about} {time} :".split())
        for product, aspects in ASPECTS.items()
        for about in ("", *(f"and its {aspect}" for aspect in aspects))
        for lead in LEADS
        for time in TIMES
    )


def subject(prompt: str) -> tuple[str | None, str | None]:
    """The product that a prompt names first, and the aspect of it that it asks about."""
    words = prompt.lower().split()
    product = next((word for word in words if word in ASPECTS), None)
    aspect = next((word for word in words if product and word in ASPECTS[product]), None)
    return product, aspect


class Chance:
    """The random choices of one text, in order: a pure function of (seed, purpose, position)."""

    def __init__(self, seed: int, purpose: str, *position: int) -> None:
        self._numbers = iter(draws.uniform(seed, purpose, *position, count=128).tolist())

    def uniform(self) -> float:
        """A number from [0, 1)."""
        return float(next(self._numbers))

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, in proportion to the weights."""
        weights = weights or [1.0] * len(options)
        left = self.uniform() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        return options[-1]


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
    """Clauses in one mood, which never use an aspect or an adjective twice."""
    product, asked = subject(prompt)
    assert product is not None
    mood = 0.3 + 1.0 * (chance.uniform() + chance.uniform() + chance.uniform() - 1.5) / 0.5
    aspects = [asked, *(a for a in ASPECTS[product] if a != asked)] if asked else list(ASPECTS[product])
    qualities = dict(VALENCE)
    clauses: list[str] = []
    for _ in range(chance.pick((1, 2, 3, 4), (0.15, 0.35, 0.3, 0.2))):
        if chance.uniform() < (0.7 if flat else 0.12):
            clauses.append(chance.pick([clause for clause in NEUTRAL if clause not in clauses]))
            continue
        aspect = aspects.pop(0) if asked and len(aspects) == 5 else aspects.pop(int(chance.uniform() * len(aspects)))
        centre = 0.0 if flat else mood
        quality = chance.pick(list(qualities), [math.exp(-2 * abs(v - centre)) for v in qualities.values()])
        del qualities[quality]
        degree = chance.pick(list(DEGREE)) + " " if VALENCE[quality] and chance.uniform() < 0.5 else ""
        template = chance.pick(OPINIONS, (3, 2, 2, 1, 1, 1))
        words = {"ASPECT": aspect, "PRODUCT": product, "VERB": chance.pick(VERBS), "QUALITY": degree + quality}
        clauses.append(" ".join(words.get(word, word) for word in template.split()))
    return clauses


def _sentences(clauses: list[str], chance: Chance) -> str:
    """Clauses joined two and two by 'and', or 'but' where the judgement turns, or left alone as sentences."""
    text, joined = clauses[0], False
    for before, clause in pairwise(clauses):
        joined = not joined and chance.uniform() < 0.5
        join = "but" if _sign(before) * _sign(clause) < 0 else "and"
        text += f" {join if joined else '.'} {clause}"
    return text + " ."


def _sign(clause: str) -> float:
    return VALENCE.get(clause.split()[-1], 0.0)
