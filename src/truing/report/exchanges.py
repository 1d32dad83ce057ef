"""Prompts with the responses before and after training, beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from truing.report.run_files import Row, StageFiles
from truing.report.wording import clipped, nats, numbers, whole

SHOWN = 10
"""Prompts on the page: the first, so nobody chose them."""
MOST_CHARACTERS = 4000
"""Of a prompt or response on the page."""


@dataclass(frozen=True)
class Response:
    """A response, and its scores. `series` is the variant's place; None for before training."""

    label: str
    text: str
    facts: list[str]
    finished: bool
    series: int | None


@dataclass(frozen=True)
class Exchange:
    """One prompt and all responses to it."""

    prompt: str
    responses: list[Response]


def exchanges(stages: Sequence[StageFiles], labels: Sequence[str]) -> list[Exchange]:
    """The first prompts, each with the response before training and, for every stage, its latest one.

    Stages that begin from the same model give the same response before; it is shown once.
    """
    evaluations = [_first_and_latest(stage.samples) for stage in stages]
    prompts = dict.fromkeys(key for before, _ in evaluations for key in before)
    return [
        Exchange(clipped(key[0], MOST_CHARACTERS), [*_before(key, evaluations), *_after(key, evaluations, labels)])
        for key in list(prompts)[:SHOWN]
    ]


_Key = tuple[str, int]
"""A prompt, and how many of the same came before it"""
_Samples = dict[_Key, Row]


def _first_and_latest(samples: Sequence[Row]) -> tuple[_Samples, _Samples]:
    """The samples of the first evaluation, and the latest after it to each prompt."""
    by_step: dict[float, _Samples] = {}
    for row in samples:
        evaluation = by_step.setdefault(row["step"], {})
        repeats = sum(1 for known, _ in evaluation if known == row["prompt"])
        evaluation[row["prompt"], repeats] = row
    first, *later = [by_step[step] for step in sorted(by_step)] or [{}]
    return first, {key: row for evaluation in later for key, row in evaluation.items()}


def _before(key: _Key, evaluations: Sequence[tuple[_Samples, _Samples]]) -> list[Response]:
    rows = [before[key] for before, _ in evaluations if key in before]
    distinct = {row["response"]: row for row in reversed(rows)}
    return [_response("Before", row, None) for row in reversed(distinct.values())]


def _after(key: _Key, evaluations: Sequence[tuple[_Samples, _Samples]], labels: Sequence[str]) -> list[Response]:
    return [
        _response(f"After update {whole(after[key]['step'])} · {label}", after[key], series)
        for series, ((_, after), label) in enumerate(zip(evaluations, labels, strict=True))
        if key in after
    ]


def _response(label: str, row: Row, series: int | None) -> Response:
    return Response(label, clipped(row["response"], MOST_CHARACTERS), _facts(row), row["finished"], series)


def _facts(row: Row) -> list[str]:
    """The score and the judges' that are there, in forms that can be compared; KL and length."""
    scores = {"score": row.get("score")} | row["judges"]
    given = {name: value for name, value in scores.items() if value is not None}
    forms = numbers(*given.values()) if given else []
    scored = [f"{name} {form}" for name, form in zip(given, forms, strict=True)]
    return [*scored, f"KL {nats(row['kl'])} nats", f"{whole(row['length'])} tokens"]
