"""How a metric changed while a policy learnt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from truing.core.metrics import SCORE, Metric
from truing.core.results import Change, Interval
from truing.report.run_files import StageFiles
from truing.report.wording import difference, interval, nats, numbers

WENT = {"rose": "rose", "fell": "fell", "level": "within noise", "unknown": ""}
"""Where a metric went, in a word"""


@dataclass(frozen=True)
class Outcome:
    """What became of one metric of a policy on held-out prompts, for the first screen."""

    title: str
    unit: str
    change: Change
    is_kl: bool = False
    """It begins at 0 and can only rise, so where it went is not told; what is below a hundredth is rounding"""

    @property
    def before(self) -> tuple[str, str]:
        """The number and its interval."""
        return self._written[0], self._within(self.change.first_ci95)

    @property
    def after(self) -> tuple[str, str]:
        """The number and its interval."""
        return self._written[1], self._within(self.change.last_ci95)

    @property
    def difference(self) -> tuple[str, str]:
        """By how much it went where, and its interval; nothing where that is not told or not known."""
        change = self.change
        if self.is_kl or change.change_ci95 is None:
            return "", ""
        by, ends = difference(change.last - change.first, change.change_ci95).split(" ", 1)
        return f"{by} {WENT[change.direction]}", ends

    @property
    def _written(self) -> list[str]:
        ends = self.change.first, self.change.last
        return [*map(nats, ends)] if self.is_kl else numbers(*ends)

    def _within(self, ends: Interval | None) -> str:
        return interval(ends, nats if self.is_kl else None)


def score_metric(stages: Sequence[StageFiles], metric: Metric = SCORE) -> Metric:
    """The score of these policies, or what is on its scale; without a unit where theirs differ."""
    own = [stage.on_its_scale(metric) for stage in stages] or [metric]
    return own[0] if len({one.unit for one in own}) == 1 else replace(metric, unit="")


def heldout_score(stage: StageFiles) -> Change | None:
    """The score on held-out prompts, before and after."""
    return stage.result.heldout.heldout_score or change_of(stage, "heldout_score")


def judged(stage: StageFiles, judge: str) -> Change | None:
    """A judge's mean on held-out prompts, before and after."""
    return (stage.result.heldout.judges or {}).get(judge) or change_of(stage, f"judge_{judge}")


def heldout_kl(stage: StageFiles) -> Change | None:
    """Nats a sequence from the reference, before and after: of the step that the model is of, or of the last so far."""
    return stage.result.heldout.heldout_kl or change_of(stage, "heldout_kl")


def change_of(stage: StageFiles, name: str) -> Change | None:
    """A metric's first and last value, so far; where a guard has chosen the model's step, no later ones."""
    steps, values = stage.series(name)
    kept = stage.result.guard.guard_kept_step
    if kept is not None:
        values = [value for step, value in zip(steps, values, strict=True) if step <= kept] or values[:1]
    return Change(values[0], values[-1]) if values else None


def beta(stage: StageFiles) -> float | None:
    """The price of KL: of the last update, or of the whole stage."""
    measured = stage.latest("beta")
    return stage.result.beta if measured is None else measured


def change_in_words(change: Change) -> str:
    """By how much, with its interval: 'change +0.57 [0.28, 0.86]'; empty without one."""
    return f"change {difference(change.last - change.first, change.change_ci95)}" if change.change_ci95 else ""
