"""What the guard would have decided on a run that was recorded without it, with other judges and budgets.

Up to its first interference a guard changes nothing, so that the answers it would have looked at are those on record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from guard.judging import PairsJudge

from truing.config.judging import Guard as Settings
from truing.evaluation.decision import Evaluation, RollBack, Stop
from truing.guard.contests import Question
from truing.guard.looks import Guard, State

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Replayed:
    """What became of one run."""

    kept: int
    """The step that judgements rank highest"""
    turned: int | None
    """The step at which judgements said that training had taken a turn; None where they never did"""
    labels: int


@dataclass(frozen=True)
class Asked:
    """Stands for the guard's ledger: asks the judge at once and keeps nothing."""

    judge: PairsJudge

    def outcomes(self, look: int, questions: Sequence[Question]) -> dict[str, float]:
        pairs = [(one.first, one.second) for one in questions]
        shares = self.judge([one.shown for one in questions], pairs)
        return {one.id: one.outcome(share) for one, share in zip(questions, shares, strict=True)}


def replay(samples: Mapping[int, Rows], judge: PairsJudge, labels: int, seed: int) -> Replayed:
    """The guard in mode `stop`, with a look at each step on record.

    Args:
        samples: lines of samples.jsonl by step, the first of which is 0.
        judge: of pairs.
        labels: the budget.
        seed: of the questions' order and sides.
    """
    steps = sorted(samples)[1:]
    settings = Settings(mode="stop", labels=labels, look_every=steps[0])
    prompts = [row["prompt"] for row in samples[0]]
    state = State(beta=0.0)
    guard = Guard(
        settings,
        steps[-1],
        (seed, prompts),
        Asked(judge),
        samples.__getitem__,
        lambda said: None,
        state,  # type: ignore[arg-type]
    )
    turned = None
    for step in steps:
        kl = fmean(row["kl"] for row in samples[step])
        decision = guard.decide([Evaluation(step, {"heldout_kl": kl})])
        if isinstance(decision, Stop | RollBack):
            turned = step if decision.reason.startswith("judges find") else None
            break
    return Replayed(state.step(state.best), turned, state.labels)
