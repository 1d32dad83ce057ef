"""How a figure moved over a PPO stage, and whether that is more than noise."""

from dataclasses import dataclass
from typing import Literal

from truing.report.run_files import Interval, Row, StageFiles, ends, figure, table

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


def _closing(row: Row, prefix: str) -> Change | None:
    first, last = figure(row, f"{prefix}first"), figure(row, f"{prefix}last")
    if first is None or last is None:
        return None
    return Change(first, last, *(ends(row, f"{prefix}{part}_ci95") for part in ("first", "last", "change")))
