"""Records to token ids that fit, under the recipe's policy for what does not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from truing.config.sections import Data
from truing.core.errors import DataError, InputError, ModelError, TruingError, first_line, together
from truing.core.records import Demonstration, Preference, Prompt, Text
from truing.data.chat import Encoded, encode_completion, encode_prompt
from truing.data.length_report import NAMED, TOKENIZER_HINT, LengthReport, Limit, too_long

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

R = TypeVar("R", Demonstration, Preference, Prompt)
TRIED = 20
"""Rows that cannot be encoded, after which no more are tried"""


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


def encode_demonstrations(
    tokenizer: "PreTrainedTokenizerBase",
    records: Sequence[Demonstration],
    data: Data,
    context: int,
    named: int | None = NAMED,
) -> tuple[list[Encoded], LengthReport]:
    """Prompts and completions of at most min(data.max_length, context) tokens together.

    Of rows that are told, the first `named` are named, or all for None.

    Raises:
        InputError: a row is longer and `data.too_long` is error, no row is left, or the tokenizer or its chat template
            cannot take a row.
    """
    kept, report = _within(tokenizer, records, ("completion",), Limit(data, context, named=named))
    return [Encoded(row.prompt, row.completions["completion"], row.where) for row in kept], report


def encode_preferences(
    tokenizer: "PreTrainedTokenizerBase",
    records: Sequence[Preference],
    data: Data,
    context: int,
    named: int | None = NAMED,
) -> tuple[list[EncodedPair], LengthReport]:
    """The same for pairs: the prompt and the longer completion must fit, and both sides are left the same prompt.

    Pairs whose sides come to the same tokens are dropped and counted.
    """
    kept, report = _within(tokenizer, records, ("chosen", "rejected"), Limit(data, context, named=named))
    pairs = [
        EncodedPair(
            row.prompt, row.completions["chosen"], row.completions["rejected"], records[row.index].margin, row.where
        )
        for row in kept
    ]
    return pairs, report


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase",
    records: Sequence[Prompt],
    data: Data,
    room: int,
    context: int,
    named: int | None = NAMED,
) -> tuple[list[EncodedPrompt], LengthReport]:
    """The same for prompts that leave `room` new tokens of the length; cut_completion drops those that do not."""
    kept, report = _within(tokenizer, records, (), Limit(data, context, room, named))
    return [EncodedPrompt(records[row.index].prompt, row.prompt) for row in kept], report


@dataclass(frozen=True)
class _Row:
    """A record's tokens on their way through the length policy: one prompt and the completions that follow it."""

    index: int
    where: str
    prompt: tuple[int, ...]
    completions: dict[str, tuple[int, ...]]
    """By the name of their column"""

    @property
    def longest(self) -> int:
        """Tokens of the longest completion."""
        return max(map(len, self.completions.values()), default=0)

    @property
    def is_identical(self) -> bool:
        """Whether two completions are the same."""
        return len(set(self.completions.values())) < len(self.completions)


def _within(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[R], completions: tuple[str, ...], limit: Limit
) -> tuple[list[_Row], LengthReport]:
    """The records' tokens within the limit, and what became of the others."""
    rows, refused = _encoded(tokenizer, records, completions)
    longer = [row for row in rows if len(row.prompt) + row.longest > limit.tokens]
    if longer and limit.data.too_long == "error":
        refused.append(DataError(f"{too_long(_described(longer, limit), limit)}.", hint=limit.hint))
    if refused:
        raise together(refused)
    fitted = [(_fit(row, limit, tokenizer.bos_token_id), row) for row in rows]
    kept = [row for row, _ in fitted if row is not None and not row.is_identical]
    report = _report(fitted, limit)
    if not kept:
        where = rows[0].where if rows else None
        hint = TOKENIZER_HINT if rows and len(report.identical) == len(rows) else limit.hint
        raise DataError(f"no row is left to learn from: {report.sentence()}", where=where, hint=hint)
    return kept, report


def _encoded(
    tokenizer: "PreTrainedTokenizerBase", records: Sequence[R], completions: tuple[str, ...]
) -> tuple[list[_Row], list[InputError]]:
    """Every record's tokens, however many, and those that cannot be encoded, each of which may take seconds."""
    rows: list[_Row] = []
    refused: list[InputError] = []
    for index, record in enumerate(records):
        try:
            rows.append(_row(tokenizer, index, record, completions))
        except InputError as error:
            refused.append(error)
            if len(refused) == TRIED:
                refused.append(DataError("no more rows were tried.", where=record.where))
                break
    return rows, refused


def _row(tokenizer: "PreTrainedTokenizerBase", index: int, record: R, completions: tuple[str, ...]) -> _Row:
    """DataError if the prompt has no token, or where the tokenizer fails; ModelError names the record."""
    try:
        prompt = encode_prompt(tokenizer, record.prompt)
        answers = {name: encode_completion(tokenizer, record.prompt, getattr(record, name)) for name in completions}
    except ModelError as error:
        raise ModelError(error.what, where=record.where, hint=error.hint) from error
    except (MemoryError, TruingError):
        raise
    except Exception as error:  # tokenizers raises no class of its own
        what = f"the tokenizer cannot read it: {first_line(error)}."
        raise DataError(what, where=record.where, hint=TOKENIZER_HINT) from error
    if not prompt:
        raise DataError("the tokenizer makes no token of the prompt.", where=record.where, hint=TOKENIZER_HINT)
    return _Row(index, record.where, prompt, answers)


def _fit(row: _Row, limit: Limit, bos: object) -> _Row | None:
    """The row within the limit: itself, or cut as the policy says, or None where that cannot be.

    A cut prompt keeps its end, and its bos; at least one token beside bos must remain. A cut completion keeps its
    beginning and so loses eos, since its text does not end there.
    """
    policy = limit.data.too_long
    if len(row.prompt) + row.longest <= limit.tokens:
        return row
    if policy == "cut_prompt":
        head = row.prompt[:1] if row.prompt[0] == bos else ()
        space = limit.tokens - row.longest - len(head)
        return replace(row, prompt=head + row.prompt[-space:]) if space > 0 else None
    space = limit.tokens - len(row.prompt)
    if policy == "cut_completion" and row.completions and space > 0:
        return replace(row, completions={name: tokens[:space] for name, tokens in row.completions.items()})
    return None


def _report(fitted: list[tuple[_Row | None, _Row]], limit: Limit) -> LengthReport:
    """What became of rows, given as they are and as they were."""
    dropped = [old for row, old in fitted if row is None]
    cut = [old for row, old in fitted if row is not None and row is not old and not row.is_identical]
    alike = [old for row, old in fitted if row is not None and row.is_identical]
    return LengthReport(
        limit=limit,
        rows=len(fitted),
        cut=_described(cut, limit),
        dropped=_described(dropped, limit),
        identical=tuple(old.where for old in alike if old.is_identical),
        identical_once_cut=tuple(old.where for old in alike if not old.is_identical),
    )


def _described(rows: Sequence[_Row], limit: Limit) -> tuple[str, ...]:
    """Where rows beyond the limit stand, and their lengths."""
    return tuple(f"{row.where} ({_lengths(row, limit)})" for row in rows)


def _lengths(row: _Row, limit: Limit) -> str:
    prompt = f"prompt {len(row.prompt):,}"
    if len(row.prompt) >= limit.whole:
        return f"{prompt}, which alone fills them"
    if limit.new:
        return f"{prompt} + room for {limit.new:,} new"
    name = max(row.completions, key=lambda name: len(row.completions[name]))
    return f"{prompt} + {name} {len(row.completions[name]):,}"
