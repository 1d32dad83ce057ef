"""How long rows may be, and what became of those that are longer, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from truing.config.sections import Data

NAMED = 5
"""Rows that an error names; the rest are counted"""
KEEPING = ("cut_prompt", "cut_completion")
"""Policies that may keep a row that is too long"""
TOKENIZER_HINT = "Use a tokenizer that knows the characters of your data."
ALIKE_HINT = f"{TOKENIZER_HINT} Or use a chat template that writes what makes the two sides differ, such as reasoning."


@dataclass(frozen=True)
class Limit:
    """What a prompt and its completion have to fit into."""

    data: Data
    context: int
    """Tokens that the model reads"""
    new: int = 0
    """Tokens that are kept free for a response"""
    named: int | None = NAMED
    """How many rows an error names; all of them for None"""

    @property
    def whole(self) -> int:
        """Tokens in all."""
        return min(self.data.max_length, self.context)

    @property
    def tokens(self) -> int:
        """Those for what there is."""
        return self.whole - self.new

    @property
    def hint(self) -> str:
        """How more rows would fit."""
        ways = ["lower rollout.max_new_tokens"] if self.new else []
        longer = self.data.max_length < self.context
        ways += [f"raise data.max_length (the model reads up to {self.context:,})"] if longer else ["shorten the rows"]
        others = [policy for policy in KEEPING if policy != self.data.too_long and policy not in self._vain]
        others = [*(["drop"] if self.data.too_long == "error" else []), *others]
        ways += [f"set data.too_long to {' or '.join(others)}"] if others else []
        advice = f"{', '.join(ways[:-1])} or {ways[-1]}." if len(ways) > 1 else f"{ways[0]}."
        limited = "" if longer else f"The model reads no more than {self.context:,} tokens: "
        return limited + (advice if limited else advice[0].upper() + advice[1:])

    @property
    def _vain(self) -> set[str]:
        """Policies that keep no row more: a prompt has no completion to cut."""
        return {"cut_completion"} if self.new else set()


@dataclass(frozen=True)
class LengthReport:
    """What became of the rows, by where they stand: rows = kept + dropped + identical."""

    limit: Limit
    rows: int
    cut: tuple[str, ...]
    """kept, but shortened"""
    dropped: tuple[str, ...]
    """too long"""
    identical: tuple[str, ...]
    """pairs whose sides have the same tokens"""
    identical_once_cut: tuple[str, ...]
    """pairs whose sides have, since they were cut"""

    @property
    def left_out(self) -> int:
        """Rows."""
        return len(self.dropped) + len(self.identical) + len(self.identical_once_cut)

    def sentence(self) -> str:
        """For the log."""
        pairs = len(self.identical) + len(self.identical_once_cut)
        identical = f", {pairs:,} dropped as identical pairs" if pairs else ""
        return (
            f"{self.rows - self.left_out:,} of {self.rows:,} rows kept, {len(self.cut):,} of them cut; "
            f"{len(self.dropped):,} dropped as too long{identical}."
        )

    def remarks(self) -> Iterator[str]:
        """A sentence for each thing that became of rows, with the first of them and the hint.

        Nothing has to be corrected in these, so never are all of them named.
        """
        alike = "`chosen` and `rejected` have the same tokens"
        if self.cut:
            yield f"cut to {self.limit.tokens:,} tokens: {_first(self.cut)}. {self.limit.hint}"
        if self.dropped:
            yield f"left out, since {_too_long(self.dropped, self.limit, _first(self.dropped))}. {self.limit.hint}"
        if self.identical_once_cut:
            yield f"left out, since {alike} once cut: {_first(self.identical_once_cut)}. {self.limit.hint}"
        if self.identical:
            yield f"left out, since {alike}: {_first(self.identical)}. {ALIKE_HINT}"


def too_long(described: Sequence[str], limit: Limit) -> str:
    """What is wrong with rows beyond the limit."""
    return _too_long(described, limit, _first(described, limit.named, more="; `truing validate` tells all"))


def _too_long(described: Sequence[str], limit: Limit, named: str) -> str:
    count = "1 row does" if len(described) == 1 else f"{len(described):,} rows do"
    return f"{count} not fit into {limit.whole:,} tokens: {named}"


def _first(places: Sequence[str], named: int | None = NAMED, more: str = "") -> str:
    """The first of them, and how many more there are; all for None."""
    rest = 0 if named is None else max(0, len(places) - named)
    return ", ".join(places[:named]) + (f", and {rest:,} more{more}" if rest else "")
