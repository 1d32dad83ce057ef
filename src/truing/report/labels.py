"""How good the labellers were whose judgements a run learns from."""

from dataclasses import dataclass

from truing.core.label_figures import Figure, Head, Row, figures, heads, rows
from truing.core.label_quality import LabelQuality
from truing.report.wording import whole


@dataclass(frozen=True)
class Labels:
    """The judgements of people behind one data file of the run."""

    title: str
    summary: str
    figures: list[Figure]
    """Of all people together"""
    heads: list[Head]
    rows: list[Row]
    """A person each"""
    stand_out: list[str]
    """Who does, and why"""
    quality: LabelQuality
    """What the words are made of"""


def labels_of(name: str, quality: LabelQuality) -> Labels:
    """Of the data that a recipe has under this name."""
    return Labels(
        title=f"Labels: {name}",
        summary=(
            f"{whole(quality.votes)} votes of {whole(len(quality.people))} people on {whole(quality.items)} items, "
            f"{whole(quality.shared_items)} of them judged by several. Intervals are 95%."
        ),
        figures=figures(quality),
        heads=heads(quality),
        rows=rows(quality),
        stand_out=[f"{one.name}: {finding}" for one in quality.people for finding in one.findings],
        quality=quality,
    )
