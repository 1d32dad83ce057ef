"""What is odd about rows that can be used all the same: columns that nothing reads, rows and ids that come twice."""

import difflib
import json
from dataclasses import dataclass, field

from truing.data.formats import RawRow

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
class Tally:
    """Oddities by their kind, each told once."""

    _found: dict[str, _Oddity] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """One more of a kind; the sentence without its full stop is told of the first."""
        if kind in self._found:
            self._found[kind].count += 1
        else:
            self._found[kind] = _Oddity(sentence)

    def sentences(self) -> list[str]:
        """One a kind of oddity, with the first row that has it."""
        return list(map(str, self._found.values()))


@dataclass
class Remarks:
    """Gathered row by row of one file."""

    _tally: Tally = field(default_factory=Tally)
    _seen: dict[str, str] = field(default_factory=dict)

    def add_row(self, row: RawRow) -> None:
        """Notes what is odd about the next row."""
        for name in row.values:
            if name not in (*COLUMNS, ID):
                close = difflib.get_close_matches(name, COLUMNS, n=1)
                hint = f"; did you mean `{close[0]}`?" if close else ""
                self._tally.add(f"column {name}", f"{row.where}: `{_printable(name)}` is not read{hint}")
        content = {name: value for name, value in row.values.items() if name in COLUMNS}
        self._repeated("row", _text(content), row, "says the same as")
        if ID in row.values:
            self._repeated("id", _text(row.values[ID]), row, f"has the `{ID}` of")

    def sentences(self) -> list[str]:
        """One a kind of oddity, with the first row that has it."""
        return self._tally.sentences()

    def _repeated(self, kind: str, key: str, row: RawRow, what: str) -> None:
        """A remark, if a row before it had the same key."""
        first = self._seen.setdefault(f"{kind} {key}", row.where)
        if first != row.where:
            self._tally.add(kind, f"{row.where}: {what} {first}")


def _printable(name: str) -> str:
    """A column's name for a terminal: a row may call it anything."""
    short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return short if short.isprintable() else repr(short)[1:-1]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
