"""What the pages of a sweep and of rounds, both over several runs, are made of; overview.html is what they share."""

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Chart:
    """A drawing of figures, its heading, and the line that says how to read it."""

    heading: str
    drawing: Markup
    reading: str


@dataclass(frozen=True)
class Cell:
    """A figure and its interval, or what else there is to say of it."""

    value: str
    detail: str = ""
