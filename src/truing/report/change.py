"""How a figure moved while a policy learnt, and whether that is more than noise."""

from dataclasses import dataclass
from typing import Literal

from truing.report.run_files import Interval, Row, StageFiles, ends, figure, table
from truing.report.wording import difference

Direction = Literal["rose", "fell", "level", "unknown"]


@dataclass(frozen=True)
class Change:
    """A mean before the first update and after the last, with 95% intervals where the stage measured them.

    `change_ci` is the interval of the difference, prompt by prompt, and so narrower than the other two suggest.
    """

    first: float
    last: float
    first_ci: Interval | None = None
    last_ci: Interval | None = None
    change_ci: Interval | None = None

    @property
    def direction(self) -> Direction:
        """Where it went; `level` if the interval of the difference holds 0, `unknown` without one."""
        if self.change_ci is None:
            return "unknown"
        low, high = self.change_ci
        return "rose" if low > 0 else "fell" if high < 0 else "level"

    @property
    def difference(self) -> str:
        """By how much, with its interval, in words; nothing without one."""
        return difference(self.last - self.first, self.change_ci) if self.change_ci else ""


def heldout_score(stage: StageFiles) -> Change | None:
    """The score on held-out prompts, before and after."""
    return _closing(stage.result, "heldout_score_") or moved(stage, "heldout_score")


def judged(stage: StageFiles, judge: str) -> Change | None:
    """What a judge said on held-out prompts, before and after."""
    return _closing(table(table(stage.result, "judges"), judge), "") or moved(stage, f"judge_{judge}")


def moved(stage: StageFiles, key: str) -> Change | None:
    """A metric's first and last value, so far."""
    _, values = stage.series(key)
    return Change(values[0], values[-1]) if values else None


def beta(stage: StageFiles) -> float | None:
    """The price of KL: at the end, or so far."""
    return _closing_or_last(stage, "beta", "beta")


def updates(stage: StageFiles) -> float | None:
    """How many there were, or were so far."""
    return _closing_or_last(stage, "steps", "step")


def policy_kl(stage: StageFiles) -> float | None:
    """Nats a sequence from the reference at the latest look at held-out prompts; without one, of the last update."""
    look = moved(stage, "heldout_kl")
    return look.last if look else figure(stage.result, "kl_last")


def _closing_or_last(stage: StageFiles, closing: str, key: str) -> float | None:
    value, so_far = figure(stage.result, closing), moved(stage, key)
    return so_far.last if value is None and so_far else value


def _closing(row: Row, prefix: str) -> Change | None:
    first, last = figure(row, f"{prefix}first"), figure(row, f"{prefix}last")
    if first is None or last is None:
        return None
    return Change(first, last, *(ends(row, f"{prefix}{part}_ci95") for part in ("first", "last", "change")))
