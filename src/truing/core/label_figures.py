"""The figures on labels in words: the same on the lead's page, in a terminal and in a report."""

from collections.abc import Callable
from dataclasses import dataclass

from truing.core.label_quality import Behaviour, Estimate, LabelQuality

TOO_FEW = "too few to tell"


@dataclass(frozen=True)
class Shown:
    """A figure as it is read."""

    value: str
    ends: str = ""
    """Its 95% interval, or how many there are where these are too few"""


@dataclass(frozen=True)
class Figure:
    """One over all people together."""

    title: str
    shown: Shown
    meaning: str


@dataclass(frozen=True)
class Head:
    """Of a column with a figure for each person."""

    title: str
    meaning: str


@dataclass(frozen=True)
class Row:
    """One person."""

    name: str
    cells: list[Shown]
    findings: list[str]


HABITS = {
    "left": Head("left", "Of votes that prefer a side, those for the left. Sides are drawn, so expect one half."),
    "longer": Head("longer", "Of votes that prefer a side of unequal length, those for the longer answer."),
    "controls": Head("controls", "Of votes on pairs whose better side is known, those that found it."),
    "swaps": Head("again", "Of items that one person saw twice, with sides changed, those judged alike."),
    "hasty": Head("fast", "Of votes, those faster than 12 words a second: three times as fast as people read."),
}
"""Fields of `Behaviour`"""
OF_A_PERSON = (
    Head("votes", "That stand, on known answers and on what is shown again too."),
    Head("seconds", "For a vote, the median."),
    Head("agree", "Of pairs of a vote of theirs and another person's on the same item, those that agree."),
    Head(
        "without",
        "Krippendorff's alpha of all others: higher than that of all where they agree less than these.",
    ),
    Head("follows", "How far their votes follow those of the others: 1 as these say, 0 not at all (Bradley-Terry)."),
)
AGREES = {
    "pairs": "the same side is preferred, or neither",
    "rate": "they are at most a step apart",
    "yes-no": "both are yes, or both no",
}
"""What it means that two votes agree, by mode"""


def figures(quality: LabelQuality) -> list[Figure]:
    """Over all people together; habits that nothing was seen of are left out."""
    alpha = (
        f"Krippendorff's, over the {quality.shared_items:,} items that several people judged. 1 where all say the "
        "same, 0 as by chance. He asks for 0.8, and for 0.667 where conclusions may be tentative; judgements of what "
        "is better are seldom so alike."
    )
    random = "The same over items that were drawn at random, which stand for all: others were chosen as hard ones."
    own = [
        Figure("alpha", _number(quality.alpha), alpha),
        Figure("alpha, drawn at random", _number(quality.alpha_random), random),
        Figure(
            "agree", _share(quality.agreement), f"Of pairs of votes on one item, those where {AGREES[quality.mode]}."
        ),
        Figure("agree, quick votes", _share(quality.quicker), "Of the half that took each person the least time."),
        Figure("agree, slow votes", _share(quality.slower), "Of the other half."),
    ]
    seen = _seen(quality.behaviour)
    return own + [
        Figure(head.title, _share(getattr(quality.behaviour, name)), head.meaning) for name, head in seen.items()
    ]


def heads(quality: LabelQuality) -> list[Head]:
    """Above the cells of `rows`."""
    return [*OF_A_PERSON, *_seen(quality.behaviour).values()]


def rows(quality: LabelQuality) -> list[Row]:
    """A row a person, in the order in which they came."""
    return [
        Row(
            one.name,
            [
                Shown(f"{one.votes:,}"),
                Shown("–" if one.seconds is None else f"{one.seconds:.1f}"),
                _share(one.agreement),
                Shown("–" if one.alpha_without is None else _figure(one.alpha_without)),
                _number(one.slope),
                *(_share(getattr(one.behaviour, name)) for name in _seen(quality.behaviour)),
            ],
            one.findings,
        )
        for one in quality.people
    ]


def _seen(behaviour: Behaviour) -> dict[str, Head]:
    return {name: head for name, head in HABITS.items() if getattr(behaviour, name).count}


def _share(estimate: Estimate) -> Shown:
    return _shown(estimate, lambda value: f"{value:.0%}")


def _number(estimate: Estimate) -> Shown:
    return _shown(estimate, _figure)


def _figure(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _shown(estimate: Estimate, form: Callable[[float], str]) -> Shown:
    if estimate.value is None:
        return Shown(TOO_FEW, f"{estimate.count} so far")
    ends = "" if estimate.ci95 is None else " to ".join(map(form, estimate.ci95))
    return Shown(form(estimate.value), ends)
