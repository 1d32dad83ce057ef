"""What was found of a recipe's inputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from truing.core.errors import InputError, together


@dataclass
class Findings:
    """Gathered as one goes, so that all is told at once."""

    sound: list[str] = field(default_factory=list)
    """What can be used, in words"""
    odd: list[str] = field(default_factory=list)
    """What can be used, and is told all the same"""
    faults: list[InputError] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What is refused inside becomes a fault, once."""
        try:
            yield
        except InputError as error:
            if str(error) not in map(str, self.faults):
                self.faults.append(error)

    def check(self) -> None:
        """Raises InputError with all faults, if there are any."""
        if self.faults:
            raise together(self.faults)
