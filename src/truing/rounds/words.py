"""What the rounds come to, in sentences and in a table."""

from collections.abc import Callable
from dataclasses import dataclass

from truing.core import metrics
from truing.report.overview import Cell
from truing.report.wording import MISSING, difference, interval, nats, number, share, whole
from truing.rounds.asking import name_of
from truing.rounds.figures import Measurement, Outcome, Policy, Round

PEOPLE = "people"


@dataclass(frozen=True)
class Row:
    """The start, or a round."""

    name: str
    cells: list[Cell]
    is_best: bool


def headings(outcome: Outcome) -> list[tuple[str, str]]:
    """Of the table's columns: what it is, and its unit."""
    return [
        ("Labels so far", "judged for learning"),
        ("Pairs learnt from", ""),
        ("Agreement", "of scores and people"),
        *([(f"Judge: {outcome.judge}", "judge's scale")] if outcome.judge else []),
        ("Gain", "over the best before"),
        ("KL", metrics.KL.unit),
        ("Length", metrics.LENGTH.unit),
    ]


def table(outcome: Outcome) -> list[Row]:
    """The start and the rounds, in order."""
    nothing = Cell(MISSING)
    begun = [Cell("0"), nothing, nothing, *_judged(outcome, outcome.start), nothing, *_last(outcome.start)]
    return [Row(name_of(0), begun, outcome.best == 0), *(_row(outcome, one) for one in outcome.rounds)]


def sentences(outcome: Outcome) -> list[str]:
    """What there is to say, the most important first."""
    best, last = outcome.best, len(outcome.rounds)
    if best:
        told = [f"The best is the policy of {name_of(best)}, in {outcome.rounds[best - 1].run}."]
    else:
        told = ["No round gained anything beyond noise: the start is still the best."]
    told += [_gain(one, outcome) for one in outcome.rounds]
    if outcome.gains_nothing:
        rounds = "the last round" if outcome.patience == 1 else f"the last {outcome.patience} rounds"
        told.append(f"It ended after {last}: {rounds} gained nothing, and more labels of this kind are not worth it.")
    return told


def gain_in_words(outcome: Outcome) -> str:
    """Of the last round that is done."""
    return _gain(outcome.rounds[-1], outcome)


def _gain(one: Round, outcome: Outcome) -> str:
    gain = one.gain
    what = f"judge {outcome.judge}" if outcome.judge else f"{PEOPLE}, won less lost"
    by = difference(gain.mean, gain.ci95)
    told = f"Round {one.number}, {whole(one.spent)} labels: {by} over {name_of(gain.against)} ({what}, "
    verdict = "" if gain.is_clear else "; it is worse" if gain.ci95[1] < 0 else "; that may be noise"
    return told + f"{whole(gain.prompts)} held-out prompts){verdict}."


def _row(outcome: Outcome, one: Round) -> Row:
    gain = Cell(*difference(one.gain.mean, one.gain.ci95).split(" ", 1))
    cells = [
        Cell(whole(one.spent), f"{whole(one.asked)} on answers of {one.answers_of}"),
        Cell(whole(one.learnt_from)),
        _cell(one.agreement, share),
        *_judged(outcome, one.policy),
        Cell(gain.value, f"{gain.detail} over {name_of(one.gain.against)}"),
        *_last(one.policy),
    ]
    return Row(name_of(one.number), cells, outcome.best == one.number)


def _judged(outcome: Outcome, policy: Policy) -> list[Cell]:
    return [_cell(policy.judged)] if outcome.judge else []


def _last(policy: Policy) -> list[Cell]:
    return [_cell(policy.kl, nats), _cell(policy.length)]


def _cell(estimate: Measurement | None, form: Callable[[float | None], str] = number) -> Cell:
    if estimate is None:
        return Cell(MISSING)
    return Cell(form(estimate.value), interval(estimate.ci95, form))
