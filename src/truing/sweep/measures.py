"""What is measured of the policies of a sweep, from the files of the stages that made them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from truing.core import metrics
from truing.core.metrics import Metric
from truing.evaluation.variety import words_of
from truing.functional import distinct_n
from truing.report.change import heldout_kl, heldout_score, judged
from truing.report.run_files import StageFiles
from truing.sweep.baseline import JUDGE, SCORE

KL, ENTROPY, LENGTH = metrics.KL.name, metrics.ENTROPY.name, metrics.LENGTH.name
GRAMS = (1, 2, 3)


def distinct(n: int) -> str:
    """What the share of distinct n-grams is called."""
    return f"distinct_{n}"


_DISTINCT = {
    n: Metric(
        distinct(n),
        f"Distinct-{n}",
        "share",
        f"Distinct among all runs of {n} neighbouring words in the held-out answers."
        if n > 1
        else "Distinct among all words in the held-out answers.",
        bounds=metrics.SHARE,
    )
    for n in GRAMS
}


def metric_of(measure: str) -> Metric:
    """What is measured, for people."""
    known = {
        KL: replace(metrics.KL, bounds=metrics.NONNEGATIVE),
        SCORE: metrics.SCORE,
        LENGTH: metrics.LENGTH,
        ENTROPY: metrics.ENTROPY,
        **{distinct(n): _DISTINCT[n] for n in GRAMS},
    }
    judge = Metric(measure, f"Judge: {measure.removeprefix(JUDGE)}", "judge's scale", metrics.JUDGE.definition)
    return known.get(measure, judge)


def rewards_at(row: Mapping[str, Any], stage: StageFiles) -> dict[str, float]:
    """The score and each judge's, as far as they are in a line of the metrics."""
    found = {SCORE: row.get("heldout_score")} | {JUDGE + name: row.get(JUDGE + name) for name in stage.judges()}
    return {name: value for name, value in found.items() if value is not None}


def at_start(stage: StageFiles) -> dict[str, float]:
    """Before anything was learnt; an online stage's first update is of answers of the start too."""
    row = stage.metrics[0]
    _, entropies = stage.series(ENTROPY)
    return _measures(0.0, rewards_at(row, stage), next(iter(entropies), None), row, stage)


def at_end(stage: StageFiles) -> dict[str, float]:
    """Of the model that the stage ended as, which a guard may have chosen among earlier ones."""
    kept = stage.result.guard.guard_kept_step
    row = next((row for row in stage.metrics if kept is not None and row["step"] == kept), stage.metrics[-1])
    _, entropies = stage.series(ENTROPY)
    changes = {SCORE: heldout_score(stage)} | {JUDGE + name: judged(stage, name) for name in stage.judges()}
    rewards = {name: change.last for name, change in changes.items() if change is not None}
    entropy = row.get(ENTROPY, entropies[-1] if entropies else None)
    kl = heldout_kl(stage)
    return _measures(kl.last if kl else 0.0, rewards, entropy, row, stage)


def _measures(
    kl: float, rewards: Mapping[str, float], entropy: float | None, row: Mapping[str, Any], stage: StageFiles
) -> dict[str, float]:
    """All that the table has of one model, `row` being the evaluation of it."""
    answers = [words_of(sample["response"]) for sample in stage.samples if sample["step"] == row["step"]]
    found = {KL: kl, **rewards, ENTROPY: entropy}
    found |= {distinct(n): distinct_n(answers, n) if answers else None for n in GRAMS}
    found[LENGTH] = row.get("heldout_length")
    return {name: value for name, value in found.items() if value is not None}
