"""Held-out prompts with the responses before and after training, beside each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from truing.core.text import visible
from truing.report.run_files import Row, StageFiles
from truing.report.suspicion import Scale, Suspicion, suspicion
from truing.report.wording import clipped, nats, numbers, whole

MOST_PROMPTS = 2000
"""On the page: the first, so nobody chose them"""
MOST_CHARACTERS = 4000
"""Of a prompt or response on the page"""
SPEAKERS = {"assistant": "policy", "tool": "tool"}
"""Who had a turn of an episode; the environment had the others"""


@dataclass(frozen=True)
class Response:
    """A response, and what was measured of it. `series` is the variant's place; None for before training."""

    label: str
    text: str
    finished: bool
    series: int | None
    score: float | None
    judges: dict[str, float]
    kl: float | None
    length: float
    found: Suspicion | None
    """What stands out in it beside that before; None for before training"""
    tokens: list[tuple[int, float]]
    """Characters of the text that each brought, and its log π/π_ref in nats; none where that was not recorded"""

    @property
    def facts(self) -> list[str]:
        """The score and the judges' that are there, in forms that can be compared; KL and length."""
        given = [*([] if self.score is None else [("score", self.score)]), *self.judges.items()]  # one may be called so
        forms = numbers(*(value for _, value in given)) if given else []
        scored = [f"{name} {form}" for (name, _), form in zip(given, forms, strict=True)]
        moved = [] if self.kl is None else [f"KL {nats(self.kl)} nats"]
        return [*scored, *moved, f"{whole(self.length)} tokens"]

    @property
    def keys(self) -> dict[str, float | None]:
        """By what responses are put in order."""
        found = self.found or Suspicion(None, None, [])
        return {
            "score": self.score,
            "kl": self.kl,
            "disagreement": found.disagreement,
            "suspicion": len(found.signs),
            "gain": found.score_gain,
        }

    @property
    def shades(self) -> str:
        """The tokens as the page's script reads them."""
        return " ".join(f"{length} {nats:.2f}" for length, nats in self.tokens)


@dataclass(frozen=True)
class Exchange:
    """One prompt and all responses to it."""

    prompt: str
    responses: list[Response]


@dataclass(frozen=True)
class Samples:
    """The first of the held-out prompts with their responses, and of how many they are the first."""

    exchanges: list[Exchange]
    prompts: int


def samples(stages: Sequence[StageFiles], labels: Sequence[str]) -> Samples:
    """The first prompts, each with the response before training and, for every stage, that of the model it made.

    Stages that begin from the same model give the same response before; it is shown once.
    """
    evaluations = [_before_and_after(stage) for stage in stages]
    prompts = dict.fromkeys(key for before, _ in evaluations for key in before)
    scales = [Scale.of(list(before.values())) for before, _ in evaluations]
    shown = [
        Exchange(
            clipped(key[0], MOST_CHARACTERS),
            [*_before(key, evaluations), *_after(key, evaluations, labels, scales)],
        )
        for key in list(prompts)[:MOST_PROMPTS]
    ]
    return Samples(shown, len(prompts))


_Key = tuple[str, int]
"""A prompt, and how many of the same came before it"""
_Samples = dict[_Key, Row]
_Evaluations = Sequence[tuple[_Samples, _Samples]]


def _before_and_after(stage: StageFiles) -> tuple[_Samples, _Samples]:
    """The samples of the first evaluation, and of those after it the latest to each prompt.

    Where a guard has chosen the model's step, no later ones.
    """
    kept = stage.result.guard.guard_kept_step
    by_step: dict[float, _Samples] = {}
    asked: Counter[tuple[float, str]] = Counter()
    for row in stage.samples:
        step, prompt = row["step"], row["prompt"]
        by_step.setdefault(step, {})[prompt, asked[step, prompt]] = row
        asked[step, prompt] += 1
    first, *later = [by_step[step] for step in sorted(by_step) if kept is None or step <= kept] or [{}]
    return first, {key: row for evaluation in later for key, row in evaluation.items()}


def _before(key: _Key, evaluations: _Evaluations) -> list[Response]:
    rows = [before[key] for before, _ in evaluations if key in before]
    distinct = {row["response"]: row for row in reversed(rows)}
    return [_response("Before", row, None, None) for row in reversed(distinct.values())]


def _after(key: _Key, evaluations: _Evaluations, labels: Sequence[str], scales: Sequence[Scale]) -> list[Response]:
    return [
        _response(
            f"After update {whole(after[key]['step'])} · {label}",
            after[key],
            series,
            suspicion(before[key], after[key], scale) if key in before else None,
        )
        for series, ((before, after), label, scale) in enumerate(zip(evaluations, labels, scales, strict=True))
        if key in after
    ]


def _response(label: str, row: Row, series: int | None, found: Suspicion | None) -> Response:
    return Response(
        label=label,
        text=clipped(_said(row), MOST_CHARACTERS),
        finished=row["finished"],
        series=series,
        score=row.get("score"),
        judges={name: value for name, value in row["judges"].items() if value is not None},
        kl=row.get("kl"),
        length=row["length"],
        found=found,
        tokens=_tokens(row),
    )


def _said(row: Row) -> str:
    """The response; of an episode, turn by turn, each but the first under the name of who had it."""
    turns = row.get("turns", [])
    return "\n".join(
        turn["content"] if place == 0 else f"{SPEAKERS.get(turn['role'], 'environment')}: {turn['content']}"
        for place, turn in enumerate(turns)
    ) or str(row["response"])


def _tokens(row: Row) -> list[tuple[int, float]]:
    """Counted in the characters that the page shows, where tokens do not tear apart what is shown as one.

    What a token without a text brought is counted with the next, but for that of the last: it ends the response.
    """
    texts, ratios = [visible(text) for text in row.get("tokens", [])], row.get("token_log_ratios", [])
    if len(texts) != len(ratios) or "".join(texts) != visible(_said(row)):
        return []
    tokens, waiting, room = [], 0.0, len(visible(row["response"][:MOST_CHARACTERS]))
    for place, (text, ratio) in enumerate(zip(texts, ratios, strict=True), start=1):
        waiting, room = waiting + ratio, room - len(text)
        if room >= 0 and (text or place == len(texts)):
            tokens.append((len(text), waiting))
            waiting = 0.0
    return tokens
