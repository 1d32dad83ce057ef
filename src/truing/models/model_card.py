"""README.md of a saved model: what it was made from, what was measured of it, how to use it, and its limits.

No path and no time is in it: the same stage leaves the same card anywhere.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from truing.core.metrics import ACCURACY, CHOSEN_LOGPROB, ECE, KL, LONGER_WINS, LOSS, SCORE, Metric
from truing.core.results import Change, Check, Interval, PairCard, StageResult
from truing.core.text import markdown

MEASURED = "## What was measured"
CAUSAL_LM = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

place = "path/to/this/folder"
model = AutoModelForCausalLM.from_pretrained(place{options})
tokenizer = AutoTokenizer.from_pretrained(place)
```

{asked}
"""
OF_MESSAGES = "It was asked in messages: `tokenizer.apply_chat_template(messages, add_generation_prompt=True)`."
OF_TEXT = "It was asked in plain text, of which it writes what comes next."
DRAWN = (
    "The figures are of answers drawn at temperature {temperature:g}, of at most {tokens} tokens, to {prompts} "
    "held-out prompts of the same rows; other prompts and other ways to draw were not tried."
)
NO_JUDGE = "No judge outside of training has confirmed that the score stands for quality."
BY_FUNCTIONS = "Functions alone gave the score, and no model: it is worth what they check."
OF_ROWS = "Its loss is of {rows} held-out rows like those that it learnt from; what it answers was not measured."
OF_PAIRS = "Its figures are of {count} {pairs} of the same rows; answers unlike those were not tried."


@dataclass(frozen=True)
class Made:
    """What a model is and how it was made, for its card. Names are in Markdown."""

    heading: str
    how: str
    """In a sentence"""
    start: str
    """What the stage began with"""
    base: str
    """What the run began with"""
    hub_base: str | None
    """The same where it is a Hub id"""
    rows: Sequence[str]
    """The data sets of the run"""
    pipeline_tag: str
    use: str
    """How to load it, and what to give it"""
    score: Metric = SCORE
    """As it was measured"""
    pairs: str = "held-out pairs"
    """What its rewards were measured on"""


def write_model_card(directory: Path, made: Made, result: StageResult, limits: Sequence[str]) -> None:
    """Writes it beside the model.

    Args:
        directory: of the model.
        made: what it is.
        result: what was measured of it, as it is in result.json.
        limits: of what was measured, in sentences.
    """
    front = ["library_name: transformers", f"pipeline_tag: {made.pipeline_tag}"]
    front += [f"base_model: {json.dumps(made.hub_base)}"] if made.hub_base else []
    told = [*(result.guard.guard_story or []), *(result.findings or []), *(result.warnings or [])]
    parts = (
        "---\n" + "\n".join(front) + "\n---",
        f"# {made.heading}",
        made.how,
        f"It began with {made.start}."
        + (f" The base model of the run is {made.base}." if made.base != made.start else ""),
        f"Rows of the run: {', '.join(made.rows)}." if made.rows else "",
        MEASURED,
        "\n".join(_measured(result, made)),
        "## To use it",
        made.use.strip(),
        "## Limits",
        "\n".join(f"- {one}" for one in [*limits, *map(markdown, told)]),
    )
    text = "\n\n".join(part for part in parts if part) + "\n"
    (directory / "README.md").write_text(text, encoding="utf-8")


def language_model_use(in_messages: bool, trust_remote_code: bool) -> str:
    """What the card of a language model says of how to use it."""
    options = ", trust_remote_code=True" if trust_remote_code else ""
    return CAUSAL_LM.format(options=options, asked=OF_MESSAGES if in_messages else OF_TEXT)


def limits_of(
    result: StageResult, temperature: float, tokens: int, pairs: str = "held-out pairs", by_functions: bool = False
) -> list[str]:
    """What has to be said of any result of its kind.

    Args:
        result: of the stage.
        temperature: of the draws.
        tokens: that were drawn for a prompt, at most.
        pairs: what its rewards were measured on.
        by_functions: whether the user's Python alone gave its score.
    """
    heldout, count = result.heldout, result.card.heldout_pairs
    told = [OF_ROWS.format(rows=result.sft.heldout_rows)] if result.sft.heldout_rows else []
    told += [OF_PAIRS.format(count=count, pairs=pairs)] if count else []
    if heldout.heldout_prompts:
        told.append(DRAWN.format(temperature=temperature, tokens=tokens, prompts=heldout.heldout_prompts))
        told += [] if heldout.judges else [BY_FUNCTIONS if by_functions else NO_JUDGE]
    return told


def _measured(result: StageResult, made: Made) -> Iterator[str]:
    """Tables in Markdown; of a stage that measured nothing, a sentence."""
    changes = [*_changes(result, made.score)]
    if changes:
        yield "| on held-out rows, with 95% intervals | before | after | change |\n|---|---|---|---|"
        yield from (_row(title, change) for title, change in changes)
    shares = [*_shares(result.card)]
    if changes and shares:
        yield ""
    if shares:
        yield f"| on {result.card.heldout_pairs} {made.pairs} | | 95% interval |\n|---|---|---|"
        yield from (f"| {title} | {value:.1%} | {_interval(ends, percent=True)} |" for title, value, ends in shares)
    yield from _card_in_words(result.checks or [])
    if not changes and not shares:
        yield "Nothing that is held out."


def _changes(result: StageResult, score: Metric) -> Iterator[tuple[str, Change]]:
    before, after = result.sft.heldout_loss_before, result.sft.heldout_loss
    if before is not None and after is not None:
        yield LOSS.heading, Change(before, after)
    heldout = result.heldout
    if heldout.heldout_score is not None:
        yield score.heading, heldout.heldout_score
    for name, change in (heldout.judges or {}).items():
        yield f"Judge: {markdown(name)}", change
    if heldout.heldout_kl is not None:
        yield KL.heading, heldout.heldout_kl
    if result.chosen_logprob is not None:
        yield CHOSEN_LOGPROB.heading, result.chosen_logprob


def _shares(card: PairCard) -> Iterator[tuple[str, float, Interval | None]]:
    of_accuracy = (ACCURACY.title, card.heldout_accuracy, card.heldout_accuracy_ci95)
    of_length = (LONGER_WINS.title, card.longer_wins_accuracy, card.longer_wins_ci95)
    for title, value, ends in (of_accuracy, of_length, (ECE.title, card.ece, None)):
        if value is not None:
            yield title, value, ends


def _card_in_words(checks: Sequence[Check]) -> Iterator[str]:
    """How the report card came out, and where it does not pass."""
    if checks:
        count = sum(check.verdict == "pass" for check in checks)
        yield f"\nOf {len(checks)} questions of its report card, {count} pass."
    for verdict in ("warn", "fail"):
        yield from (
            f"- {verdict}: {check.title}. {markdown(check.finding)}" for check in checks if check.verdict == verdict
        )


def _row(title: str, change: Change) -> str:
    by = "" if change.change is None else f"{_number(change.change, '+')} {_interval(change.change_ci95)}"
    sides = ((change.first, change.first_ci95), (change.last, change.last_ci95))
    before, after = (f"{_number(value)} {_interval(ends)}".strip() for value, ends in sides)
    return f"| {title} | {before} | {after} | {by.strip()} |"


def _interval(ends: Interval | None, percent: bool = False) -> str:
    if ends is None:
        return ""
    low, high = (f"{end:.1%}" if percent else _number(end) for end in ends)
    return f"[{low}, {high}]"


def _number(value: float, sign: str = "") -> str:
    """Three digits, and what is below 0.0001 is rounding: the KL of a policy that has not moved is 0."""
    return f"{round(value, 4) + 0.0:{sign}.3g}"
