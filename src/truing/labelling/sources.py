"""Items of a file of answers, or of a run (`run_answers`).

pairs       {prompt, answers: [a, b]}, with `sources` and `scores` of the two where these are known, or
            {prompt, chosen, rejected}
one by one  {prompt, answers: [...]} of any number, or {prompt, completion}
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from truing.config.sections import Source
from truing.core.errors import DataError, Problem, Problems
from truing.core.records import Text
from truing.data.columns import meant_as
from truing.data.fields import FieldError, as_text
from truing.data.read import RawRow, read_rows
from truing.data.rows import Row, parse_demonstration, parse_preference
from truing.labelling.items import Item, Mode
from truing.labelling.run_answers import Against, closeness, items_of_run
from truing.runs.directory import RunDirectory


def items_of(source: Path, mode: Mode, stage: str | None = None, against: Against = "start") -> list[Item]:
    """The items of a run directory or a file, each once, in its order.

    Raises:
        RunError: the run has no result that speaks, or its stage has evaluated nothing twice.
        DataError: a row of the file cannot be shown; all that is wrong at once.
    """
    if source.is_dir():
        found = items_of_run(RunDirectory(source), stage, against)
    else:
        found = list(_of_file(source, _pair if mode == "pairs" else _answers))
    if mode != "pairs":
        found = [one for item in found for one in _one_by_one(item)]
    return list({item.key: item for item in found}.values())


def controls_of(file: Path) -> list[Item]:
    """Pairs whose better answer is known, in either order, so that the known side says nothing.

    Raises:
        DataError: a row is no pair.
    """
    pairs = _of_file(file, _known_pair)
    return [
        replace(item, kind="control", known=1)
        if number % 2
        else replace(item, answers=item.answers[::-1], sources=item.sources[::-1], kind="control", known=7)
        for number, item in enumerate(pairs)
    ]


def _of_file(file: Path, parse: Callable[[Row], Item | None]) -> Iterator[Item]:
    problems = Problems(str(file))
    items = []
    for raw in read_rows(Source(path=str(file))):
        if isinstance(raw, Problem):
            problems.add(raw)
            continue
        row = Row(raw, problems, transcripts=False)
        try:
            item = parse(row)
            items += [item] if item is not None else []
        except FieldError as fault:
            row.note(fault)
    problems.check(DataError)
    yield from items


def _pair(row: Row) -> Item | None:
    if not row.has("answers"):
        _need(row, "chosen", "rejected")
        return _known_pair(row)
    item = _answers(row)
    if item is not None and len(item.answers) != 2:
        hint = "Give it two, or judge answers one by one with --mode rate or yes-no."
        raise FieldError("answers", f"has {len(item.answers)}", hint, code="data/not-two-answers")
    return item


def _need(row: Row, *columns: str) -> None:
    """FieldError where a row has no answers, and nothing that may be meant as one of these columns."""
    if not any(row.has(column) or meant_as(column, row.raw.values) for column in columns):
        hint = f'Give "answers": [a, b], or {" and ".join(columns)}; or have models answer the prompts, with --ask.'
        raise FieldError("answers", "is missing", hint, code="data/missing-answers")


def _known_pair(row: Row) -> Item | None:
    pair = parse_preference(row)
    return Item(pair.prompt, (pair.chosen, pair.rejected), ("chosen", "rejected")) if pair is not None else None


def _answers(row: Row) -> Item | None:
    if not row.has("answers"):
        _need(row, "completion", "messages")
        answered = parse_demonstration(row)
        return Item(answered.prompt, (answered.completion,), ("completion",)) if answered is not None else None
    prompt = row.text("prompt", "prompt")
    answers = row.raw.values["answers"]
    if not isinstance(answers, list) or not answers:
        raise FieldError("answers", "is no list of answers", "Make it [answer, answer].", code="data/no-answers")
    texts = tuple(_answer(number, text) for number, text in enumerate(answers))
    if len(set(texts)) != len(texts):
        raise FieldError("answers", "has one twice", "Give it answers that differ.", code="data/equal-answers")
    return (
        Item(prompt, texts, _names(row.raw, texts), teaches=closeness(row.raw.values.get("scores"))) if prompt else None
    )


def _answer(number: int, value: object) -> Text:
    return as_text(f"answers[{number}]", value, "completion", transcripts=False)


def _names(raw: RawRow, answers: tuple[Text, ...]) -> tuple[str, ...]:
    """What the row says its answers are from; else their places in it."""
    names = raw.values.get("sources")
    if isinstance(names, list) and len(names) == len(answers):
        return tuple(map(str, names))
    return tuple(f"answers[{number}]" for number in range(len(answers)))


def _one_by_one(item: Item) -> Iterator[Item]:
    for answer, source in zip(item.answers, item.sources, strict=True):
        yield replace(item, answers=(answer,), sources=(source,), teaches=None)
