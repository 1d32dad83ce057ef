"""truing report."""

from pathlib import Path

from truing.cli.output import say
from truing.report import write_report


def report_command(run: Path) -> None:
    """Writes the report and prints its path."""
    say(str(write_report(run)))
