"""What of a sweep belongs together: the policies to compare, each with its runs, and those that begin alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from truing.config.plan import Planned, plan
from truing.config.stages import EVERY_POLICY, EVERY_STAGE
from truing.config.variants import concerns, repeated_stages
from truing.sweep.grid import as_label
from truing.sweep.trials import Trial

Values = Mapping[str, Any]
"""Of keys of the grid"""


@dataclass(frozen=True)
class Series:
    """A policy that the grid has once for each seed."""

    stage: str
    """That makes it"""
    values: Values
    """Of the keys that it depends on"""
    origin: Values
    """Of those that its start, its reward or its evaluation depend on: where these differ, no two scores are one"""
    runs: Mapping[int, Trial]
    """By seed, the first that has it; the others have the same"""


def series_of(trials: Sequence[Trial]) -> list[Series]:
    """Every policy of the grid once, in the order of the points."""
    found: dict[tuple[str, str], Series] = {}
    for trial in trials:
        for stage in policies_of(trial):
            values = {key: value for key, value in trial.point.values.items() if _concerns_policy(key, stage)}
            origin = {key: value for key, value in values.items() if _concerns_origin(key, stage)}
            known = found.get((stage.name, as_label(values)))
            runs = {trial.seed: trial, **(known.runs if known else {})}
            found[stage.name, as_label(values)] = Series(stage.name, values, origin, dict(sorted(runs.items())))
    return list(found.values())


def policies_of(trial: Trial) -> list[Planned]:
    """The stages of a run that make one."""
    return [stage for stage in plan(trial.recipe) if stage.spec.makes_policy]


def _concerns_policy(key: str, stage: Planned) -> bool:
    return stage.kind in repeated_stages(stage.recipe.stages, [key])


def _concerns_origin(key: str, stage: Planned) -> bool:
    repeated = repeated_stages(stage.recipe.stages, [key])
    return concerns(key, (*EVERY_STAGE, *EVERY_POLICY)) or not set(stage.builds_on).isdisjoint(repeated)
