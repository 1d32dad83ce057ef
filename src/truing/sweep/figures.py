"""From the finished runs of a sweep to its figures."""

from collections.abc import Sequence
from pathlib import Path

from truing.runs.interruption import Interruption
from truing.runs.progress import Progress
from truing.sweep.baseline import Drawn, drawn_for, has_score
from truing.sweep.frontier import Frontier, frontier
from truing.sweep.grid import as_label
from truing.sweep.series import Series, policies_of, series_of
from truing.sweep.trials import Trial, folder_of

BASELINE = "best-of-n"
"""The directory of a sweep that has what was measured of answers of the start"""


def figures_of(trials: Sequence[Trial], responses: int, root: Path, progress: Progress, stop: Interruption) -> Frontier:
    """What is done of a sweep; its start answers each held-out prompt so often, where that has not been measured yet.

    Raises:
        TruingError: a model cannot be loaded, or a reward or judge fails.
        InterruptedRunError: `stop` was set.
    """
    series = series_of(trials)
    drawn: dict[str, dict[int, Drawn]] = {}
    for one in series if responses > 1 else ():
        origin = as_label(one.origin)
        if origin not in drawn and _is_scored(one):
            drawn[origin] = {
                seed: drawn_for(trial, one.stage, responses, _place(root, origin, seed), progress, stop)
                for seed, trial in one.runs.items()
                if one.stage in trial.stages_done
            }
    done = sum(trial.is_done for trial in trials)
    point = trials[0].point
    return frontier(point.recipe.name, list(point.values), len(trials), done, series, drawn)


def _is_scored(series: Series) -> bool:
    trial = next(iter(series.runs.values()))
    return any(has_score(stage) for stage in policies_of(trial) if stage.name == series.stage)


def _place(root: Path, origin: str, seed: int) -> Path:
    return root / BASELINE / folder_of(origin) / f"seed-{seed}.json"
