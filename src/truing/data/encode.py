"""Records to token ids that fit, under the recipe's policy for what does not."""

from collections.abc import Callable, Sequence
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
    rows = _encoded(tokenizer, records, lambda record: (record.completion,))
    kept, report = _within(rows, tokenizer, data, context)
    return [Encoded(row.prompt, row.completions[0], row.where) for row in kept], report


def encode_preferences(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[Preference], data: Data, context: int
) -> tuple[list[EncodedPair], LengthReport]:
    """The same for pairs: the prompt and the longer completion must fit, and both sides are left the same prompt.

    Pairs whose sides come to the same tokens are dropped and counted.
    """
    rows = _encoded(tokenizer, records, lambda record: (record.chosen, record.rejected))
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
    kept, report = _within(_encoded(tokenizer, records, lambda _: ()), tokenizer, data, context, room)
    return [EncodedPrompt(records[row.index].prompt, row.prompt) for row in kept], report


@dataclass(frozen=True)
class _Row:
    """A record's tokens on their way through the length policy: one prompt and the completions that follow it."""

    index: int
    where: str
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest completion."""
        return max(map(len, self.completions), default=0)


def _encoded(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[R], completions: Callable[[R], tuple[Text, ...]]
) -> list[_Row]:
    """Every record's tokens, however many. DataError if a prompt has none; ModelError names the record."""
    rows = []
    for index, record in enumerate(records):
        try:
            prompt = encode_prompt(tokenizer, record.prompt)
            answers = tuple(encode_completion(tokenizer, record.prompt, text) for text in completions(record))
        except ModelError as error:
            raise ModelError(error.what, where=record.where, mend=error.mend) from error
        if not prompt:
            mend = "Use a tokenizer that knows the characters of your data."
            raise DataError("the tokenizer makes no token of the prompt.", where=record.where, mend=mend)
        rows.append(_Row(index, record.where, prompt, answers))
    return rows


def _within(
    rows: list[_Row], tokenizer: "PreTrainedTokenizerBase", data: Data, context: int, room: int = 0
) -> tuple[list[_Row], LengthReport]:
    """The rows that fit with `room` tokens to spare, and the count of what was done to the others."""
    limit = min(data.max_length, context) - room
    if data.too_long == "error":
        _refuse_longer(rows, limit, data, context, room)
    bos = tokenizer.bos_token_id
    fitted = [_fit(row, limit, data.too_long, bos) for row in rows]
    short = [(row, old) for row, old in zip(fitted, rows, strict=True) if row is not None]
    kept = [(row, old) for row, old in short if len(set(row.completions)) == len(row.completions)]
    report = LengthReport(
        rows=len(rows),
        kept=len(kept),
        dropped=len(rows) - len(short),
        cut=sum(row is not old for row, old in kept),
        identical=len(short) - len(kept),
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


def _refuse_longer(rows: list[_Row], limit: int, data: Data, context: int, room: int) -> None:
    """DataError that names the first rows beyond `limit`, if there are any."""
    longer = [row for row in rows if len(row.prompt) + row.longest > limit]
    if longer:
        named = ", ".join(f"{row.where} ({_lengths(row, limit, room)})" for row in longer[:NAMED])
        more = f", and {len(longer) - NAMED:,} more" if len(longer) > NAMED else ""
        count = "1 row does" if len(longer) == 1 else f"{len(longer):,} rows do"
        what = f"{count} not fit into {limit + room:,} tokens: {named}{more}."
        raise DataError(what, mend=_mend(data, context))


def _lengths(row: _Row, limit: int, room: int) -> str:
    prompt = f"prompt {len(row.prompt):,}"
    if len(row.prompt) >= limit + room:
        return f"{prompt}, which alone fills them"
    return f"{prompt} + {f'room for {room:,} new' if room else f'completion {row.longest:,}'}"


def _mend(data: Data, context: int) -> str:
    others = [policy for policy in ("drop", "cut_prompt", "cut_completion") if policy != data.too_long]
    policy = f"set data.too_long to {', '.join(others[:-1])} or {others[-1]}"
    if data.max_length < context:
        return f"Raise data.max_length (the model reads up to {context:,}), or {policy}."
    return f"The model reads no more than {context:,} tokens: shorten the rows, or {policy}."
