"""Prompts with the responses before and after training, beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from truing.report.run_files import Row, StageFiles, figure, table
from truing.report.wording import clipped, nats, numbers, whole

SHOWN = 10
"""Prompts on the page: the first, so nobody chose them."""
MOST_CHARACTERS = 4000
"""Of a prompt or response on the page."""


@dataclass(frozen=True)
class Response:
    """What a policy said, and what was thought of it. `series` is the variant's place; None for before training."""

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
    looks = [_looks(stage.samples) for stage in stages]
    prompts = dict.fromkeys(key for before, _ in looks for key in before)
    return [
        Exchange(clipped(key[0], MOST_CHARACTERS), [*_before(key, looks), *_after(key, looks, labels)])
        for key in list(prompts)[:SHOWN]
    ]


_Key = tuple[str, int]
_Looks = tuple[dict[_Key, Row], dict[_Key, Row]]


def _looks(samples: Sequence[Row]) -> _Looks:
    """The first look at the held-out prompts, and the latest answer to each of them after it."""
    by_step: dict[float, dict[_Key, Row]] = {}
    for row in samples:
        step, prompt = figure(row, "step"), row.get("prompt")
        if step is not None and isinstance(prompt, str):
            look = by_step.setdefault(step, {})
            repeats = sum(1 for known, _ in look if known == prompt)
            look[prompt, repeats] = row
    steps = sorted(by_step)
    latest = {key: row for step in steps[1:] for key, row in by_step[step].items()}
    return (by_step[steps[0]] if steps else {}), latest


def _before(key: _Key, looks: Sequence[_Looks]) -> list[Response]:
    rows = [before[key] for before, _ in looks if key in before]
    distinct = {str(row.get("response")): row for row in reversed(rows)}
    return [_response("Before", row, None) for row in reversed(distinct.values())]


def _after(key: _Key, looks: Sequence[_Looks], labels: Sequence[str]) -> list[Response]:
    return [
        _response(f"After update {whole(figure(after[key], 'step'))} · {label}", after[key], series)
        for series, ((_, after), label) in enumerate(zip(looks, labels, strict=True))
        if key in after
    ]


def _response(label: str, row: Row, series: int | None) -> Response:
    text = clipped(str(row.get("response", "")), MOST_CHARACTERS)
    return Response(label, text, _facts(row), bool(row.get("finished", True)), series)


def _facts(row: Row) -> list[str]:
    judges = table(row, "judges")
    scores = {"score": figure(row, "score")} | {name: figure(judges, name) for name in judges}
    given = {name: value for name, value in scores.items() if value is not None}
    forms = numbers(*given.values()) if given else []
    kl, length = figure(row, "kl"), figure(row, "length")
    return [
        *(f"{name} {form}" for name, form in zip(given, forms, strict=True)),
        *([] if kl is None else [f"KL {nats(kl)} nats"]),
        *([] if length is None else [f"{whole(length)} tokens"]),
    ]
