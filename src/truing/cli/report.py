"""truing report."""

from pathlib import Path

from truing.report import write_report


def report_command(run: Path) -> None:
    """Writes the report and prints its path."""
    print(write_report(run))
