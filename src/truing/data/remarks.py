"""What is odd about rows that can be used all the same: columns that nothing reads, rows and ids that come twice."""

import difflib
import json
from dataclasses import dataclass, field

from truing.config.sections import Source
from truing.data.faults import Faults
from truing.data.read import RawRow, read_rows

COLUMNS = ("prompt", "completion", "messages", "chosen", "rejected", "margin")
"""All that is read of a row"""
ID = "id"
LONGEST_NAME = 40
"""Characters of a column's name that are told"""


@dataclass
class _Oddity:
    """The first row of its kind in words, and how many there are."""

    first: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.first}." if self.count == 1 else f"{self.first}; {self.count} rows are so."


@dataclass
class _Remarks:
    found: dict[str, _Oddity] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        if kind in self.found:
            self.found[kind].count += 1
        else:
            self.found[kind] = _Oddity(sentence)

    def repeated(self, kind: str, key: str, row: RawRow, what: str) -> None:
        """A remark, if a row before it had the same key."""
        first = self.seen.setdefault(f"{kind} {key}", row.where)
        if first != row.where:
            self.add(kind, f"{row.where}: {what} {first}")

    def look_at(self, row: RawRow) -> None:
        for name in row.values:
            if name not in (*COLUMNS, ID):
                close = difflib.get_close_matches(name, COLUMNS, n=1)
                hint = f"; did you mean `{close[0]}`?" if close else ""
                self.add(f"column {name}", f"{row.where}: `{_printable(name)}` is not read{hint}")
        content = {name: value for name, value in row.values.items() if name in COLUMNS}
        self.repeated("row", _text(content), row, "says the same as")
        if ID in row.values:
            self.repeated("id", _text(row.values[ID]), row, f"has the `{ID}` of")


def remarks(source: Source) -> list[str]:
    """One sentence a kind of oddity, with the first row that has it. DataError where nothing can be read at all."""
    found = _Remarks()
    for row in read_rows(source, Faults(source.path)):
        found.look_at(row)
    return [str(oddity) for oddity in found.found.values()]


def _printable(name: str) -> str:
    """A column's name for a terminal: a row may call it anything."""
    short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return short if short.isprintable() else repr(short)[1:-1]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
