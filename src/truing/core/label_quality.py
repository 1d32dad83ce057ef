"""How far judgements of people can be trusted: the figures that are written beside an export, and read by a report."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import FiniteFloat, TypeAdapter, ValidationError

Interval = tuple[FiniteFloat, FiniteFloat]


@dataclass(frozen=True)
class Estimate:
    """A figure, or that there is too little to tell it from."""

    count: int
    """Votes, items or pairs that it rests on"""
    value: FiniteFloat | None = None
    """None where these are too few to tell"""
    ci95: Interval | None = None


NOTHING = Estimate(0)


@dataclass(frozen=True)
class Behaviour:
    """How judgements were made, whatever they say; shares of 1."""

    left: Estimate = NOTHING
    """Of decided votes on pairs, those for the left side"""
    longer: Estimate = NOTHING
    """Of decided votes on pairs whose answers differ in length, those for the longer"""
    hasty: Estimate = NOTHING
    """Of timed votes, those too fast to have read what was shown"""
    controls: Estimate = NOTHING
    """Of votes on pairs with a known answer, those that found it"""
    swaps: Estimate = NOTHING
    """Of items that the same person judged again with their sides changed, those on which they said the same"""


@dataclass(frozen=True)
class Labeller:
    """One person beside the others."""

    name: str
    votes: int
    seconds: FiniteFloat | None
    """The median for a vote"""
    agreement: Estimate
    """Of pairs of an own vote and another person's on the same item, those that agree"""
    alpha_without: FiniteFloat | None
    """Krippendorff's alpha of all others"""
    slope: Estimate
    """How far their votes follow the Bradley-Terry log-odds of the others' votes: 1 as these say, 0 not at all"""
    behaviour: Behaviour
    findings: list[str]
    """Why they stand out, and what to do about it; mostly nothing"""


@dataclass(frozen=True)
class LabelQuality:
    """Of all judgements together, and of each person."""

    mode: Literal["pairs", "rate", "yes-no"]
    votes: int
    items: int
    """With a vote"""
    shared_items: int
    """With votes of several people"""
    alpha: Estimate
    """Krippendorff's, over all items that several people judged"""
    alpha_random: Estimate
    """The same over those that were drawn at random, which stand for all"""
    agreement: Estimate
    """Of pairs of votes on the same item, those that agree"""
    quicker: Estimate
    """Of the half of each person's votes that took them the least time: agreement with those of others"""
    slower: Estimate
    """Of the other half"""
    behaviour: Behaviour
    people: list[Labeller]


def quality_file(rows: Path) -> Path:
    """Where the figures are, beside the rows that they describe: labels.quality.json beside labels.jsonl."""
    return rows.with_suffix(".quality.json")


def to_json(quality: LabelQuality, rows_sha256: str) -> dict[str, Any]:
    """As it is written beside rows that have this hash."""
    return {"rows_sha256": rows_sha256, **asdict(quality)}


def describes(found: Any, rows_sha256: str) -> bool:
    """Whether what was read is of rows with this hash, and not of others that once had their name."""
    return isinstance(found, dict) and found.get("rows_sha256") == rows_sha256


def from_json(found: Any) -> LabelQuality | None:
    """What was written; None where it is nothing of the kind."""
    try:
        return TypeAdapter(LabelQuality).validate_python(found)
    except ValidationError:
        return None
