"""What was found of a recipe's inputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from truing.core.errors import InputError, Problem, check

NOT_MEASURED = "Row lengths were not checked, and nothing was rehearsed"
"""How a sentence begins where the base is not there to read rows with"""


@dataclass
class Findings:
    """Gathered as one goes, so that all is told at once."""

    sound: list[str] = field(default_factory=list)
    """What can be used, in words"""
    odd: list[str] = field(default_factory=list)
    """What can be used, and is told all the same"""
    unchecked: list[str] = field(default_factory=list)
    """What could not be looked at, and why"""
    problems: list[Problem] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What is refused inside becomes a problem, once."""
        try:
            yield
        except InputError as error:
            if error.problem not in self.problems:
                self.problems.append(error.problem)

    def check(self) -> None:
        """Raises InputError with all problems, each once, if there are any."""
        check(self.problems)
