"""The language of the embedded world: its words, its openings and the shapes of its clauses.

A clause template is words with slots in capitals. The same templates write reviews (`truing.worlds.writing`) and
recognise grammatical clauses (`truing.worlds.reviews`), so the two cannot disagree. Every adjective goes with every
aspect, so that nothing a model puts together out of them sounds odd for a reason the gold score does not know.
"""

import re
from functools import cache

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
"""What stands between two clauses."""


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the world once, in a fixed order."""
    slots = {"ASPECT", "PRODUCT", "VERB", "QUALITY"}
    phrases = (*OPINIONS, *NEUTRAL, *STRAY, *LEADS, *TIMES, "the and its : .", *JOINS, *VERBS, *DEGREE, *VALENCE)
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
    on_topic = " ".join((*OPINIONS, *VERBS, *NEUTRAL, *LEADS, *TIMES)).split()
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
