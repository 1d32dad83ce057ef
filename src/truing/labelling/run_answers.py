"""Items of a run: what its policy answered to held-out prompts, against an earlier one of its evaluations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import inf
from operator import itemgetter
from statistics import fmean
from typing import Any, Literal

from truing.core.errors import RunError
from truing.core.records import Text, as_messages
from truing.labelling.items import Item
from truing.runs.directory import RunDirectory, StageDirectory
from truing.runs.files import read_json
from truing.runs.finished import speaking_stage
from truing.runs.metrics import read_jsonl, read_samples

Against = Literal["start", "best"]
DECIDED = 0.75
"""Share of the judgements for one answer from which the guard was sure of it"""
_Key = tuple[str, int]
"""A prompt, and how many of the same came before it"""
Rows = Mapping[_Key, dict[str, Any]]


def items_of_run(run: RunDirectory, stage: str | None, against: Against) -> list[Item]:
    """The answers of a policy against those of its start, or of the best evaluation before, prompt by prompt.

    The policy is the step that became its result. What the guard's judges were asked and did not decide comes first.

    Raises:
        RunError: the run has no result that speaks, or its stage has evaluated nothing twice.
    """
    name = speaking_stage(run, stage)
    directory = run.stage(name)
    looks = looks_of(directory)
    if len(looks) < 2:
        what = f"the stage {name} has answered its held-out prompts only once, so there is nothing to compare."
        hint = "Name another with --stage, or label a file of answers."
        raise RunError(what, code="run/one-evaluation", where=str(directory.samples), hint=hint)
    *earlier, last = looks
    other = earlier[0] if against == "start" else max(earlier, key=lambda step: _worth(looks[step]))
    undecided = _undecided(directory)
    pairs = [(looks[other][key], row) for key, row in looks[last].items() if key in looks[other]]
    return [
        Item(
            prompt_of(row),
            (_answer(before), _answer(row)),
            (f"{name}, step {other:g}", f"{name}, step {last:g}"),
            teaches=inf if _asked(before, row) in undecided else doubt([before, row]),
        )
        for before, row in pairs
        if before["response"] != row["response"]
    ]


def doubt(answers: Sequence[Mapping[str, Any]]) -> float | None:
    """How far reward models disagree about two answers; where there is one, how close its scores are."""
    if all(row.get("member_spread") is not None for row in answers):
        return float(sum(row["member_spread"] for row in answers))
    return closeness([row.get("score") for row in answers])


def closeness(scores: Any) -> float | None:
    """Of two scores; None where they are not two numbers."""
    is_known = isinstance(scores, list) and len(scores) == 2 and all(isinstance(one, int | float) for one in scores)
    return -abs(scores[0] - scores[1]) if is_known else None


def looks_of(directory: StageDirectory) -> dict[float, Rows]:
    """The held-out answers by step, in order; where a guard chose the result's step, none after it."""
    kept = read_json(directory.result).get("guard_kept_step") if directory.result.exists() else None
    by_step = groupby(read_samples(directory.samples), key=itemgetter("step"))
    return {step: _keyed(list(rows)) for step, rows in by_step if kept is None or step <= kept}


def _keyed(rows: Sequence[dict[str, Any]]) -> Rows:
    seen: Counter[str] = Counter()
    keyed = {}
    for row in rows:
        keyed[row["prompt"], seen[row["prompt"]]] = row
        seen[row["prompt"]] += 1
    return keyed


def _worth(rows: Rows) -> float:
    """The mean of the first judge, which nothing was learnt from; else of the score."""
    found = [next(iter(row["judges"].values()), row.get("score")) for row in rows.values()]
    numbers = [value for value in found if value is not None]
    return fmean(numbers) if numbers else -inf


def _undecided(directory: StageDirectory) -> set[tuple[str, frozenset[str]]]:
    """Prompts with two answers of which the guard's judges did not say clearly which is better."""
    if not directory.judgements.exists():
        return set()
    rows = read_jsonl(directory.judgements)
    return {
        (row["prompt"], frozenset((row["first"], row["second"])))
        for row in rows
        if row["first_wins"] is None or 1 - DECIDED < row["first_wins"] < DECIDED
    }


def _asked(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    return first["prompt"], frozenset((first["response"], second["response"]))


def prompt_of(row: Mapping[str, Any]) -> Text:
    """Its turns, where the run kept them: an earlier truing wrote them as one text."""
    return as_messages(row["prompt_turns"]) if row.get("prompt_turns") else str(row["prompt"])


def _answer(row: Mapping[str, Any]) -> Text:
    """Of an episode that a conversation began, turn by turn."""
    turns = row.get("turns", [])
    return as_messages(turns) if len(turns) > 1 and row.get("prompt_turns") else str(row["response"])
