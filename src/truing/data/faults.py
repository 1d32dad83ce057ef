"""What is wrong with a file of data, gathered so that a person hints it once and not row by row."""

from dataclasses import dataclass, field

from truing.core.errors import DataError

SHOWN = 20
"""Faults described in full; the rest are counted."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it stands, in which field (if in one), why it cannot be used, and the hint."""

    where: str
    field: str | None
    reason: str
    hint: str

    @property
    def what(self) -> str:
        return f"`{self.field}` {self.reason}." if self.field else f"{self.reason}."

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.hint}"


@dataclass
class Faults:
    """The faults of one file: the first in full, the others as a number."""

    path: str
    shown: int | None = SHOWN
    """How many are described; all of them for None"""
    first: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, field: str | None, reason: str, hint: str) -> None:
        """Notes a fault; whether to go on reading is the caller's decision."""
        self.count += 1
        if self.shown is None or len(self.first) < self.shown:
            self.first.append(Fault(where, field, reason, hint))

    def take(self) -> list[Fault]:
        """Those that were described since this was last asked for."""
        taken, self.first = self.first, []
        return taken

    def check(self) -> None:
        """Raises one DataError that names them all, if there are any."""
        if self.count == 1:
            only = self.first[0]
            raise DataError(only.what, where=only.where, hint=only.hint)
        if self.count:
            listing = "".join(f"\n  {fault}" for fault in self.first)
            rest = self.count - len(self.first)
            more = f"\n  ... and {rest} more; `truing validate` tells all." if rest else ""
            raise DataError(f"{self.count} faults.{listing}{more}", where=self.path)
