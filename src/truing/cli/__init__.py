"""The command line: parses, calls, prints. Nothing else in truing prints to stdout or reads argv."""

from truing.cli.main import main

__all__ = ["main"]
