"""Two judges of sentiment that training never sees, as a recipe names them: ``judges:vader``, ``judges:afinn``.

Both read the whole text, opening and response, without the head ``Review:``. They are word lists and rules, made
independently of each other and of the people's ratings of these snippets.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

HEAD = "Review:"


def vader(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """VADER's compound score, from -1 to 1 (Hutto & Gilbert 2014)."""
    return [float(_vader().polarity_scores(text)["compound"]) for text in _texts(prompts, responses)]


def afinn(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """AFINN's score: the sum over words rated from -5 to 5 (Nielsen 2011)."""
    return [float(_afinn().score(text)) for text in _texts(prompts, responses)]


def _texts(prompts: Sequence[str], responses: Sequence[str]) -> list[str]:
    pairs = zip(prompts, responses, strict=True)
    return [(prompt + response).removeprefix(HEAD).strip() for prompt, response in pairs]


@cache
def _vader() -> Any:
    return import_module("vaderSentiment.vaderSentiment").SentimentIntensityAnalyzer()


@cache
def _afinn() -> Any:
    return import_module("afinn").Afinn()
