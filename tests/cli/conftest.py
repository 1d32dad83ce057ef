"""The command line, called as a person calls it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from truing.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: object
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def truing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`truing ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["truing", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return Said(end.value.code or 0, printed.out, printed.err)

    return call
