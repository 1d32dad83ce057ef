"""What is wrong with a YAML text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One thing to put right."""

    key: str
    """Dotted; empty for the file as a whole"""
    what: str
    hint: str = ""
    line: int | None = None
    """From 1"""

    def sentence(self) -> str:
        """What is wrong and the hint, beginning with the key."""
        key = f"{self.key}: " if self.key else ""
        return f"{key}{self.what} {self.hint}".rstrip()
