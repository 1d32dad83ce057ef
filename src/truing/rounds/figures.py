"""What the rounds come to, in figures, from their files: every one of rounds.json and of the page is made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from truing.config.recipe import Recipe
from truing.core.results import Interval
from truing.functional import mean_interval, wilson_interval
from truing.labelling.items import MIDDLE
from truing.labelling.run_answers import Rows
from truing.rounds.asking import ScoredItem, heldout_rows, name_of, read_asked
from truing.rounds.directory import RoundsDirectory
from truing.rounds.stopping import Gain, best_of, gain_of, gains_nothing
from truing.runs.metrics import read_jsonl


@dataclass(frozen=True)
class Measurement:
    """A mean or a share with its 95% interval, over so many."""

    value: float
    ci95: Interval
    count: int


@dataclass(frozen=True)
class Policy:
    """What was measured of one policy on the held-out prompts."""

    judged: Measurement | None
    """By the judge of the recipe; None where people say what a round gained"""
    score: Measurement | None
    """By the reward model of its own round: no two rounds have the same"""
    kl: Measurement | None
    """Nats a sequence from the start"""
    length: Measurement
    """Tokens"""


@dataclass(frozen=True)
class Round:
    """One round that is done."""

    number: int
    run: str
    """Its run, in the directory of the rounds"""
    answers_of: str
    """Whose answers people judged"""
    asked: int
    """Items, in this round"""
    spent: int
    """Items so far that people judged for learning"""
    learnt_from: int
    """Pairs: the items so far on which people came down on one side"""
    agreement: Measurement | None
    """Of the items that were drawn at random, how often the reward model of the round before agreed with people"""
    policy: Policy
    gain: Gain


@dataclass(frozen=True)
class Outcome:
    """What all rounds come to."""

    name: str
    """Of the recipe"""
    judge: str | None
    """Who says what a round gained; None for the people"""
    start: Policy
    rounds: list[Round]
    best: int
    """The last round that gained something; 0 for the start"""
    gains_nothing: bool
    """Whether another round would not be worth its labels"""
    patience: int


def judge_of(recipe: Recipe) -> str | None:
    """The recipe's first judge, which says what a round gained; without one, people do."""
    return next(iter(recipe.evaluation.judges), None)


def figures_of(
    directory: RoundsDirectory, recipe: Recipe, votes: Mapping[str, float], done: int, patience: int
) -> Outcome:
    """The figures of the rounds that are done.

    Args:
        directory: of the rounds.
        recipe: of a round.
        votes: the mean on each item.
        done: how many these are.
        patience: how many that gain nothing are enough.
    """
    judge, gains = judge_of(recipe), list[Gain]()
    rows = {number: heldout_rows(directory, recipe, number) for number in range(done + 1)}
    rounds, spent = list[Round](), 0
    for number in range(1, done + 1):
        against = best_of(gains)
        if judge is None:
            compared = read_asked(directory.judged(number))
            against = _shown_against(compared, number, against)
            differences = preferences(compared, votes)
        else:
            differences = _differences(rows[against], rows[number], judge)
        gains.append(gain_of(differences, against))
        asked = read_asked(directory.asked(number))
        spent += len(asked)
        rounds.append(
            Round(
                number=number,
                run=directory.run(number).root.name,
                answers_of=name_of(number - 1),
                asked=len(asked),
                spent=spent,
                learnt_from=len(read_jsonl(directory.learnt(number))),
                agreement=agreement(asked, votes),
                policy=_policy(list(rows[number].values()), judge),
                gain=gains[-1],
            )
        )
    start = _policy(list(rows[0].values()), judge)
    return Outcome(recipe.name, judge, start, rounds, best_of(gains), gains_nothing(gains, patience), patience)


def _shown_against(asked: Sequence[ScoredItem], number: int, best: int) -> int:
    """Whose answers people saw beside the new ones: votes that changed since may have made another one the best."""
    shown = {one.item.sources[0] for one in asked}
    return next((past for past in range(number) if name_of(past) in shown), best)


def preferences(asked: Sequence[ScoredItem], votes: Mapping[str, float]) -> list[float]:
    """Of each item on which people voted, whether they preferred the second answer: −1, 0 or 1."""
    values = [votes[one.item.key] for one in asked if one.item.key in votes]
    return [float((value > MIDDLE) - (value < MIDDLE)) for value in values]


def agreement(asked: Sequence[ScoredItem], votes: Mapping[str, float]) -> Measurement | None:
    """How often the higher score and the vote agree, over items drawn at random on which people came down on a side."""
    known = [
        (votes[one.item.key] - MIDDLE, one.scores[1] - one.scores[0])
        for one in asked
        if one.item.kind == "random" and one.scores is not None and votes.get(one.item.key, MIDDLE) != MIDDLE
    ]
    if not known:
        return None
    right = sum(vote * gap > 0 for vote, gap in known)
    return Measurement(right / len(known), wilson_interval(right, len(known)), len(known))


def _differences(before: Rows, after: Rows, judge: str) -> list[float]:
    """Prompt by prompt, what the judge gives to the later answer beyond the earlier one, where it has both."""
    pairs = [(before[key]["judges"][judge], row["judges"][judge]) for key, row in after.items()]
    return [later - earlier for earlier, later in pairs if earlier is not None and later is not None]


def _policy(rows: Sequence[Mapping[str, Any]], judge: str | None) -> Policy:
    judged = None if judge is None else _estimate([row["judges"][judge] for row in rows])
    score, kl, length = (_estimate([row.get(key) for row in rows]) for key in ("score", "kl", "length"))
    assert length is not None, "prompts are held out"
    return Policy(judged, score, kl, length)


def _estimate(values: Sequence[float | None]) -> Measurement | None:
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    mean, low, high = mean_interval(known)
    return Measurement(mean, (low, high), len(known))
