"""A run directory becomes one HTML file that a person can read, print and pass on."""

from truing.report.page import write_report

__all__ = ["write_report"]
