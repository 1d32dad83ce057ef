"""Records to token ids that fit, under the recipe's policy for what does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from truing.data.chat import Encoded, encode_completion, encode_prompt
from truing.errors import DataError, ModelError
from truing.recipe import Data
from truing.records import Demonstration, Preference, Prompt, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

R = TypeVar("R", Demonstration, Preference, Prompt)
NAMED = 5
"""Rows that an error names; the rest are counted."""
INSTEAD = {
    "error": "drop, cut_prompt or cut_completion",
    "drop": "cut_prompt or cut_completion",
    "cut_prompt": "cut_completion",
    "cut_completion": "cut_prompt",
}
"""Other policies for rows that are too long, which may keep what one leaves out"""
TOKENIZER_MEND = "Use a tokenizer that knows the characters of your data."


@dataclass(frozen=True)
class EncodedPair:
    """The tokens of a prompt, of the completion that was preferred and of the one that was not."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    margin: float | None
    where: str


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt's tokens, which may be cut, and its text, which is whole."""

    text: Text
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class LengthReport:
    """What became of the rows: rows = kept + dropped + identical."""

    rows: int
    kept: int
    dropped: int
    """too long"""
    cut: int
    """kept, but shortened"""
    identical: int
    """pairs whose sides have the same tokens, maybe since they were cut"""
    left_out: tuple[str, ...] = ()
    """A sentence for each reason why rows are left out, with the first of them and the mend"""

    def sentence(self) -> str:
        """For the log."""
        identical = f", {self.identical:,} dropped as identical pairs" if self.identical else ""
        return (
            f"{self.kept:,} of {self.rows:,} rows kept, {self.cut:,} of them cut; "
            f"{self.dropped:,} dropped as too long{identical}."
        )


def encode_demonstrations(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[Demonstration], data: Data, context: int
) -> tuple[list[Encoded], LengthReport]:
    """Prompts and completions of at most min(data.max_length, context) tokens together.

    DataError if a row is longer and `data.too_long` is error, or if no row is left; ModelError from the template.
    """
    rows = _encoded(tokenizer, records, ("completion",))
    kept, report = _within(rows, tokenizer, data, context)
    return [Encoded(row.prompt, row.completions[0], row.where) for row in kept], report


def encode_preferences(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[Preference], data: Data, context: int
) -> tuple[list[EncodedPair], LengthReport]:
    """The same for pairs: the prompt and the longer completion must fit, and both sides are left the same prompt.

    Pairs whose sides come to the same tokens are dropped and counted.
    """
    rows = _encoded(tokenizer, records, ("chosen", "rejected"))
    kept, report = _within(rows, tokenizer, data, context)
    pairs = [
        EncodedPair(row.prompt, row.completions[0], row.completions[1], records[row.index].margin, row.where)
        for row in kept
    ]
    return pairs, report


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[Prompt], data: Data, room: int, context: int
) -> tuple[list[EncodedPrompt], LengthReport]:
    """The same for prompts that leave `room` new tokens of the length; cut_completion drops those that do not."""
    kept, report = _within(_encoded(tokenizer, records, ()), tokenizer, data, context, room)
    return [EncodedPrompt(records[row.index].prompt, row.prompt) for row in kept], report


@dataclass(frozen=True)
class _Row:
    """A record's tokens on their way through the length policy: one prompt and the completions that follow it."""

    index: int
    where: str
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    """Of the completions' columns"""

    @property
    def longest(self) -> int:
        """Tokens of the longest completion."""
        return max(map(len, self.completions), default=0)

    @property
    def is_identical(self) -> bool:
        """Whether two completions are the same."""
        return len(set(self.completions)) < len(self.completions)


def _encoded(tokenizer: "PreTrainedTokenizerBase", records: Sequence[R], completions: tuple[str, ...]) -> list[_Row]:
    """Every record's tokens, however many. DataError if a prompt has none; ModelError names the record."""
    rows = []
    for index, record in enumerate(records):
        texts = [getattr(record, name) for name in completions]
        try:
            prompt = encode_prompt(tokenizer, record.prompt)
            answers = tuple(encode_completion(tokenizer, record.prompt, text) for text in texts)
        except ModelError as error:
            raise ModelError(error.what, where=record.where, mend=error.mend) from error
        if not prompt:
            raise DataError("the tokenizer makes no token of the prompt.", where=record.where, mend=TOKENIZER_MEND)
        rows.append(_Row(index, record.where, prompt, answers, completions))
    return rows


def _within(
    rows: list[_Row], tokenizer: "PreTrainedTokenizerBase", data: Data, context: int, room: int = 0
) -> tuple[list[_Row], LengthReport]:
    """The rows that fit with `room` tokens to spare, and the count of what was done to the others."""
    limit = min(data.max_length, context) - room
    longer = [row for row in rows if len(row.prompt) + row.longest > limit]
    if longer and data.too_long == "error":
        raise DataError(f"{_too_long(longer, limit, room)}.", mend=_mend(data, context))
    bos = tokenizer.bos_token_id
    fitted = [(_fit(row, limit, data.too_long, bos), row) for row in rows]
    short = [(row, old) for row, old in fitted if row is not None]
    kept = [(row, old) for row, old in short if not row.is_identical]
    dropped, identical = [old for row, old in fitted if row is None], [pair for pair in short if pair[0].is_identical]
    report = LengthReport(
        rows=len(rows),
        kept=len(kept),
        dropped=len(dropped),
        cut=sum(row is not old for row, old in kept),
        identical=len(identical),
        left_out=tuple(_left_out(dropped, identical, limit, room, _mend(data, context))),
    )
    if not kept:
        where = rows[0].where if rows else None
        raise DataError(f"no row is left to learn from: {report.sentence()}", where=where, mend=_mend(data, context))
    return [row for row, _ in kept], report


def _fit(row: _Row, limit: int, policy: str, bos: object) -> _Row | None:
    """The row within `limit` tokens: itself, or cut as the policy says, or None where that cannot be.

    A cut prompt keeps its end, and its bos; at least one token beside bos must remain. A cut completion keeps its
    beginning and so loses eos, since its text does not end there.
    """
    if len(row.prompt) + row.longest <= limit:
        return row
    if policy == "cut_prompt":
        head = row.prompt[:1] if row.prompt[0] == bos else ()
        space = limit - row.longest - len(head)
        return replace(row, prompt=head + row.prompt[-space:]) if space > 0 else None
    space = limit - len(row.prompt)
    if policy == "cut_completion" and row.completions and space > 0:
        return replace(row, completions=tuple(tokens[:space] for tokens in row.completions))
    return None


def _left_out(
    dropped: list[_Row], identical: list[tuple[_Row, _Row]], limit: int, room: int, mend: str
) -> Iterator[str]:
    """Why rows are left out, in words; `identical` are pairs as they became and as they were."""
    if dropped:
        yield f"{_too_long(dropped, limit, room)}; left out. {mend}"
    cut, uncut = ([old.where for row, old in identical if (row is not old) == was_cut] for was_cut in (True, False))
    alike = "`chosen` and `rejected` have the same tokens"
    if cut:
        yield f"{alike} once cut: {_listed(cut)}; left out. {mend}"
    if uncut:
        yield f"{alike}: {_listed(uncut)}; left out. {TOKENIZER_MEND}"


def _too_long(longer: list[_Row], limit: int, room: int) -> str:
    """What is wrong with rows beyond `limit`, of which the first are named."""
    named = _listed([f"{row.where} ({_lengths(row, limit, room)})" for row in longer])
    count = "1 row does" if len(longer) == 1 else f"{len(longer):,} rows do"
    return f"{count} not fit into {limit + room:,} tokens: {named}"


def _listed(places: list[str]) -> str:
    more = f", and {len(places) - NAMED:,} more" if len(places) > NAMED else ""
    return ", ".join(places[:NAMED]) + more


def _lengths(row: _Row, limit: int, room: int) -> str:
    prompt = f"prompt {len(row.prompt):,}"
    if len(row.prompt) >= limit + room:
        return f"{prompt}, which alone fills them"
    if room:
        return f"{prompt} + room for {room:,} new"
    length, name = max((len(tokens), name) for tokens, name in zip(row.completions, row.names, strict=True))
    return f"{prompt} + {name} {length:,}"


def _mend(data: Data, context: int) -> str:
    policy = f"set data.too_long to {INSTEAD[data.too_long]}"
    if data.max_length < context:
        return f"Raise data.max_length (the model reads up to {context:,}), or {policy}."
    return f"The model reads no more than {context:,} tokens: shorten the rows, or {policy}."
