"""What the checks of a report card measured, drawn: accuracy on parts of the pairs, and shifts of changed answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from truing.core.results import CalibrationPoint, Check
from truing.report.drawings import IntervalRow, Line, Strengths, accuracy_chart, shift_chart

BAG_OF_WORDS = {("bag-of-words", "bag of words"): "Bag of words"}
PARTS = {
    ("margin", "least sure third"): "Least sure third",
    ("margin", "middle third"): "Middle third",
    ("margin", "surest third"): "Surest third",
    ("length", "longer was preferred"): "Longer preferred",
    ("length", "shorter was preferred"): "Shorter preferred",
}
SHIFTS = {
    ("polite-phrase", "shift"): "Polite phrase added",
    ("repeated-sentence", "shift"): "Sentence repeated",
    ("cut", "shift"): "Cut in half",
    ("casing", "shift"): "In lower case",
    ("as-an-ai", "shift"): "'As an AI' before",
    ("foreign-answer", "shift"): "Of another prompt",
}
"""What is drawn: the names of a check and of its measure, and what they are called in the drawing"""


@dataclass(frozen=True)
class Chart:
    """A drawing, its heading, the line that says how to read it, and the numbers in it."""

    heading: str
    drawing: Markup
    reading: str
    drawn: Sequence[Line | IntervalRow | CalibrationPoint | Strengths]


def check_charts(prefix: str, checks: Sequence[Check]) -> Iterator[Chart]:
    """One for parts of the pairs and one for changed answers, where these were measured."""
    parts, shifts = interval_rows(checks, PARTS), interval_rows(checks, SHIFTS)
    if parts:
        drawing = accuracy_chart(f"{prefix}-parts", "Accuracy on parts of the pairs", parts, len(parts))
        reading = (
            "By the size of the score difference, and by which side is longer. Bars: 95% intervals. Dashed: chance."
        )
        yield Chart("Accuracy on parts of the pairs", drawing, reading, parts)
    if shifts:
        drawing = shift_chart(f"{prefix}-shifts", "Shift of the score of changed answers", shifts)
        reading = "To the right, the change is paid; only the answer of another prompt should lie on the left."
        yield Chart("Score of changed answers", drawing, f"{reading} Bars: 95% intervals.", shifts)


def interval_rows(checks: Sequence[Check], names: Mapping[tuple[str, str], str]) -> list[IntervalRow]:
    """The measures of these names that were taken, as they are called; no name from a file is drawn."""
    found = {(check.name, measure.name): measure for check in checks for measure in check.measures}
    return [IntervalRow(title, found[key].value, found[key].ci95) for key, title in names.items() if key in found]
