"""What is odd about rows that can be used all the same: columns that nothing reads, rows and ids that come twice."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from truing.core.records import Preference, Rating, Text
from truing.data.columns import ID, meant_by
from truing.data.formats import RawRow

SOURCE = "source"
"""It is read, and no part of what a row says"""
LONGEST_NAME = 40
"""Characters of a column's name that are told"""


@dataclass
class _Oddity:
    """The first row of its kind in words, and how many there are."""

    first: str
    count: int = 1

    def __str__(self) -> str:
        asks = self.first.endswith("?")
        if self.count == 1:
            return self.first if asks else f"{self.first}."
        return f"{self.first}{'' if asks else ';'} {self.count} rows are so."


@dataclass
class Tally:
    """Oddities by their kind, each told once."""

    _found: dict[str, _Oddity] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """One more of a kind; the sentence, without its full stop, is told of the first."""
        if kind in self._found:
            self._found[kind].count += 1
        else:
            self._found[kind] = _Oddity(sentence)

    def sentences(self) -> list[str]:
        """One a kind of oddity, with the first row that has it."""
        return list(map(str, self._found.values()))


def opposites(records: Iterable[Preference | Rating]) -> list[str]:
    """A sentence where pairs prefer what others before them reject, or ratings want what others do not."""
    tally, seen = Tally(), dict[tuple[Text | bool, ...], str]()
    for record in records:
        if isinstance(record, Preference):
            said: tuple[Text | bool, ...] = (record.prompt, record.chosen, record.rejected)
            opposite: tuple[Text | bool, ...] = (record.prompt, record.rejected, record.chosen)
        else:
            said = (record.prompt, record.completion, record.label)
            opposite = (record.prompt, record.completion, not record.label)
        if opposite in seen:
            tally.add("opposite", f"{record.where}: says the opposite of {seen[opposite]}")
        seen.setdefault(said, record.where)
    return tally.sentences()


@dataclass
class Remarks:
    """Gathered row by row of one file."""

    _tally: Tally = field(default_factory=Tally)
    _seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Where a row or id came first, and what else stood there"""

    def add_row(self, row: RawRow, read: Collection[str]) -> None:
        """Notes what is odd about the next row; `read` are its columns that were, and those that would have been."""
        for name in row.values:
            if name not in (*read, ID):
                meant = meant_by(name)
                hint = f"; did you mean `{meant}`?" if meant in read and meant not in row.values else ""
                column = f"`{_printable(name)}`" if name else "a column without a name"
                self._tally.add(f"column {name}", f"{row.where}: {column} is not read{hint}")
        content = {name: value for name, value in row.values.items() if name in read and name != SOURCE}
        others = {name: value for name, value in row.values.items() if name not in content}
        self._repeated("row", _text(content), row, "says the same as", _text(others))
        if ID in row.values:
            self._repeated("id", _text(row.values[ID]), row, f"has the `{ID}` of")

    def sentences(self) -> list[str]:
        """One a kind of oddity, with the first row that has it."""
        return self._tally.sentences()

    def _repeated(self, kind: str, key: str, row: RawRow, what: str, others: str = "") -> None:
        """A remark, if a row before it had the same key; it says so where the `others` are not the same."""
        first, before = self._seen.setdefault(f"{kind} {key}", (row.where, others))
        if first != row.where:
            apart = "" if before == others else ", but in columns that are not read"
            self._tally.add(kind + apart, f"{row.where}: {what} {first}{apart}")


def _printable(name: str) -> str:
    """A column's name for a terminal: a row may call it anything."""
    short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return short if short.isprintable() else repr(short)[1:-1]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
