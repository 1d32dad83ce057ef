"""Records to token ids, and rows of ids that fit, under the recipe's policy for those that do not."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from truing.core.errors import DataError, InputError, ModelError, Problem, TruingError, first_line, once_each
from truing.core.records import Record, Text, Tokens
from truing.data.chat import TextFormat, Written, completion_tokens, write_answered
from truing.data.endings import drops_answers
from truing.data.length_report import ALIKE_HINT, TOKENIZER_HINT, LengthReport, Limit, too_long

TRIED = 20
"""Rows that cannot be encoded, after which no more are tried"""
_IDS: dict[int, int] = {}


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt's tokens, which may be cut, and its text, which is whole."""

    text: Text
    tokens: Tokens
    columns: str = ""
    """The further columns of its row, as JSON"""


@dataclass(frozen=True)
class EncodedRow:
    """A record's tokens: one prompt and the completions that follow it."""

    where: str
    prompt: Tokens
    completions: dict[str, Tokens]
    """By the name of their field"""
    prompt_index: int
    """Which of the different prompts of its dataset it has"""
    margin: float = 0.0
    """0 where the data says nothing"""
    source: str = ""
    """Where it is from; empty where the data does not say"""
    columns: str = ""
    """The further columns of a prompt, as JSON; empty for rows that are learnt from"""
    label: bool = True
    """Of a rating: whether its completion is wanted"""
    share: float = 1.0
    """Of a pair: how many of the people who preferred a side preferred the chosen one; 1 where the data says nothing"""

    @property
    def longest(self) -> int:
        """Tokens of the longest completion."""
        return max(map(len, self.completions.values()), default=0)

    @property
    def is_identical(self) -> bool:
        """Whether two completions are the same."""
        return len(set(self.completions.values())) < len(self.completions)


def interned(ids: Iterable[int]) -> Tokens:
    """The same ids, of which equal ones are one object: 8 bytes a token where Python would take 36."""
    return tuple([_IDS.setdefault(token, token) for token in ids])


def encode_records(
    records: Iterable[Record],
    completions: Sequence[str],
    form: TextFormat | None,
    write_prompt: Callable[[Text], Written],
    note: Callable[[Record, EncodedRow, Sequence[Written]], None] | None = None,
) -> tuple[list[EncodedRow], list[Problem]]:
    """The tokens of records, and why others cannot be encoded: once for all of which the same is to be said.

    Each of the latter may take seconds, so only the first are tried. Without a format rows have no tokens.

    Args:
        records: of one dataset.
        completions: the fields of a record that follow its prompt.
        form: how text becomes tokens.
        write_prompt: as that of `data.chat`; it may know prompts that it was asked for before.
        note: is told of each row, and of the texts that its tokens are of: a whole one for each completion, or the
            prompt.
    """
    rows: list[EncodedRow] = []
    refused: list[Problem] = []
    records = list(records)
    answered_chats = bool(completions) and any(not isinstance(record.prompt, str) for record in records)
    if form and answered_chats and drops_answers(form.tokenizer):
        what = "the chat template writes nothing of an answer that is text, so there would be nothing to learn."
        hint = "Use a template that writes `content`; one for lists of parts, pictures among them, may not."
        return [], [Problem("model/template-drops-answers", None, what, hint, form.tokenizer.name_or_path)]
    prompts: dict[Text, int] = {}
    for record in records:
        index, label = prompts.setdefault(record.prompt, len(prompts)), getattr(record, "label", True)
        if form is None:
            rows.append(EncodedRow(record.where, (), {}, index, label=label))
            continue
        try:
            beginning, wholes, answers = _written(record, completions, form, write_prompt)
        except InputError as error:
            refused.append(error.problem)
            if len(refused) == TRIED:
                refused.append(Problem("data/no-more-tried", None, "no more rows were tried.", where=record.where))
                break
            continue
        margin, source = getattr(record, "margin", None) or 0.0, getattr(record, "source", "")
        share = getattr(record, "share", None) or 1.0
        made = EncodedRow(record.where, beginning.tokens, answers, index, margin, source, record.columns, label, share)
        rows.append(made)
        if note is not None:
            note(record, rows[-1], wholes or [beginning])
    return rows, once_each(refused)


def _written(
    record: Record, completions: Sequence[str], form: TextFormat, write_prompt: Callable[[Text], Written]
) -> tuple[Written, list[Written], dict[str, Tokens]]:
    """The prompt, the prompt with each completion, and the completions' tokens.

    DataError if the prompt has no token, or where the tokenizer fails; ModelError names the record.
    """
    try:
        beginning = write_prompt(record.prompt)
        answers = [getattr(record, name) for name in completions]
        wholes = [write_answered(form, record.prompt, answer, beginning.text) for answer in answers]
        tokens = [interned(completion_tokens(form, beginning, whole)) for whole in wholes]
    except ModelError as error:
        raise ModelError(**vars(error.problem) | {"where": record.where}) from error
    except (MemoryError, TruingError):
        raise
    except Exception as error:  # tokenizers raises no class of its own
        what = f"the tokenizer cannot read it: {first_line(error)}."
        raise DataError(what, code="data/not-encodable", where=record.where, hint=TOKENIZER_HINT) from error
    if not beginning.tokens:
        what = "the tokenizer makes no token of the prompt."
        raise DataError(what, code="data/no-tokens", where=record.where, hint=TOKENIZER_HINT)
    return beginning, wholes, dict(zip(completions, tokens, strict=True))


def fit(rows: Sequence[EncodedRow], limit: Limit, bos: int | None) -> tuple[list[EncodedRow], LengthReport]:
    """The rows within the limit, cut where the policy says so, and what became of the others.

    Pairs whose sides come to the same tokens are dropped and counted.

    Raises:
        DataError: a row is longer and `data.too_long` is error, or no row is left.
    """
    longer = [row for row in rows if len(row.prompt) + row.longest > limit.tokens]
    if longer and limit.data.too_long == "error":
        raise DataError(f"{too_long(_described(longer, limit), limit)}.", code="data/too-long", hint=limit.hint)
    fitted = [(_cut(row, limit, bos), row) for row in rows]
    kept = [row for row, _ in fitted if row is not None and not row.is_identical]
    report = _report(fitted, limit)
    if not kept:
        where = rows[0].where if rows else None
        hint = ALIKE_HINT if rows and len(report.identical) == len(rows) else limit.hint
        what = f"no row is left to learn from: {report.sentence()}"
        raise DataError(what, code="data/no-rows-left", where=where, hint=hint)
    return kept, report


def _cut(row: EncodedRow, limit: Limit, bos: int | None) -> EncodedRow | None:
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


def _report(fitted: list[tuple[EncodedRow | None, EncodedRow]], limit: Limit) -> LengthReport:
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


def _described(rows: Sequence[EncodedRow], limit: Limit) -> tuple[str, ...]:
    """Where rows beyond the limit stand, and their lengths."""
    return tuple(f"{row.where} ({_lengths(row, limit)})" for row in rows)


def _lengths(row: EncodedRow, limit: Limit) -> str:
    prompt = f"prompt {len(row.prompt):,}"
    if len(row.prompt) >= limit.whole:
        return f"{prompt}, which alone fills them"
    if limit.new:
        return f"{prompt} + room for {limit.new:,} new"
    name = max(row.completions, key=lambda name: len(row.completions[name]))
    return f"{prompt} + {name} {len(row.completions[name]):,}"
