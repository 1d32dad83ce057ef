"""Is a reward model worth learning from? A decision on its card of held-out pairs alone."""

from statistics import NormalDist

from truing.core.results import PairCard

CHANCE = 0.5
_HALF_WIDTH = NormalDist().inv_cdf(0.975) * CHANCE
"""Of the 95% interval of a share that is one half, times the root of the count"""


def unsound(card: PairCard) -> list[str]:
    """What speaks against learning from a reward model, each as the end of 'it is ...'; nothing where it is sound.

    It must be clear of chance: the 95% interval of its accuracy on held-out pairs lies above one half. And it must be
    right more often than whoever prefers the longer response. A card without an accuracy says nothing against it.
    """
    reasons = {
        "not clear of chance": near_chance(card),
        "no better than preferring the longer response": beaten_by_length(card),
    }
    return [reason for reason, holds in reasons.items() if holds]


def near_chance(card: PairCard) -> bool:
    """Whether the interval of its accuracy reaches down to one half."""
    accuracy, interval = card.heldout_accuracy, card.heldout_accuracy_ci95
    return accuracy is not None and interval is not None and interval[0] <= CHANCE


def beaten_by_length(card: PairCard) -> bool:
    """Whether it is right no more often than whoever prefers the longer response."""
    accuracy, longer = card.heldout_accuracy, card.longer_wins_accuracy
    return accuracy is not None and longer is not None and accuracy <= longer


def clear_of_chance(pairs: float) -> float:
    """The accuracy on so many pairs above which the 95% interval (Wilson's) lies above one half; above 1, none does.

    Wilson's interval holds one half exactly where |accuracy − ½| ≤ z·√(½·½ / pairs).
    """
    return float(CHANCE + _HALF_WIDTH / pairs**0.5)


def card_in_words(card: PairCard) -> str:
    """What was measured: "46% of 50 held-out pairs right [33%, 60%], 'longer wins' 52%"."""
    low, high = card.heldout_accuracy_ci95 or (0.0, 1.0)
    said = f"{card.heldout_accuracy or 0.0:.0%} of {card.heldout_pairs or 0:,} held-out pairs right"
    longer = "" if card.longer_wins_accuracy is None else f", 'longer wins' {card.longer_wins_accuracy:.0%}"
    return f"{said} [{low:.0%}, {high:.0%}]{longer}"
