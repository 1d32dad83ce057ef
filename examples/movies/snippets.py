"""Movie-review snippets with what each of at least 15 people made of them, from -4 to 4."""

import json
import re
from dataclasses import dataclass
from statistics import fmean

from truing.core.errors import DataError

MIN_RATINGS = 15
WORDS = range(6, 23)  # so that opening and response together are about as long as what the policy may write


@dataclass(frozen=True)
class Snippet:
    """One snippet; ``rating`` is the mean of its individual ratings, never the published mean."""

    id: str
    text: str
    rating: float


def parse_snippets(texts: str, ratings: str) -> list[Snippet]:
    """Join the text file (id, mean, text) and the ratings file (id, mean, deviation, [ratings]), in the text's order.

    The published means in both files are ignored: some of the collection's disagree with the ratings given.
    DataError names the line at fault. Texts are tidied, and one that occurs twice is kept once.
    """
    rated = dict(_rated(line, number) for number, line in enumerate(ratings.splitlines(), 1))
    snippets: dict[str, Snippet] = {}
    for number, line in enumerate(texts.splitlines(), 1):
        fields = line.split("\t")
        if len(fields) != 3 or fields[0] not in rated:
            what = "expected an id that has ratings, a mean and a text, with tabs between."
            raise DataError(what, where=f"texts:{number}")
        text = tidy(fields[2])
        snippets.setdefault(text.casefold(), Snippet(fields[0], text, rated[fields[0]]))
    return list(snippets.values())


def _rated(line: str, number: int) -> tuple[str, float]:
    try:
        key, _, _, listed = line.split("\t")
        ratings = json.loads(listed)
    except ValueError as error:
        what = "expected an id, two figures and a list of ratings, with tabs between."
        raise DataError(what, where=f"ratings:{number}") from error
    if len(ratings) < MIN_RATINGS or not all(type(rating) is int and -4 <= rating <= 4 for rating in ratings):
        what = f"expected at least {MIN_RATINGS} whole ratings from -4 to 4."
        raise DataError(what, where=f"ratings:{number}")
    return key, fmean(ratings)


def tidy(text: str) -> str:
    """Mend what the collection's export did to the typography: lost dashes, doubled quotes, stray spaces.

    >>> tidy("The ''plot''    such as it is    bores .")
    'The "plot" - such as it is - bores.'
    """
    text = re.sub(r"(?<=\S) {3,}(?=\S)", " - ", text.strip()).replace("''", '"')
    return re.sub(r" +([.,!?;:])(?=\s|$)", r"\1", re.sub(r"\s+", " ", text))


def fits(snippet: Snippet) -> bool:
    """Whether the snippet is of the length the example works with."""
    return len(snippet.text.split()) in WORDS
