"""The command line, called as a person calls it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from truing.cli import main
from truing.core.errors import Problem, TruingError
from truing.core.text import visible


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    code: object
    out: str
    err: str
    problems: tuple[Problem, ...]
    """Of the error that ended it, if one did"""

    @property
    def spots(self) -> list[tuple[str, str | None, str | None]]:
        """Code, field and place of each problem."""
        return [(problem.code, problem.field, problem.where) for problem in self.problems]


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
        error = end.value.__context__
        if isinstance(error, TruingError):
            assert printed.err.endswith(visible(f"truing: {error}\n"))
        problems = error.problems if isinstance(error, TruingError) else ()
        return Said(end.value.code or 0, printed.out, printed.err, problems)

    return call
