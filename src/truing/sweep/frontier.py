"""What the runs of a sweep say together, in figures: reward, judges and diversity against the distance from the start.

Every figure of `frontier.json` and of the page is made here.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from truing.core.metrics import Bounds
from truing.core.results import Interval
from truing.functional import FrontierFit, best_of_n_kl_bound, fit_frontier, mean_interval_of_few
from truing.functional.frontier import Form
from truing.report.run_files import RunFiles, StageFiles, read_run
from truing.sweep.baseline import Drawn
from truing.sweep.grid import as_label
from truing.sweep.measures import at_end, at_start, metric_of, rewards_at
from truing.sweep.series import Series

ONLINE: Form = "reinforcement learning"
BEST: Form = "best-of-n"
POOR = 0.5
"""Share of the variance below which a form says too little of the points to be read off"""


@dataclass(frozen=True)
class Mean:
    """Of one measure, over seeds."""

    mean: float
    ci95: Interval | None
    """Student's t; None with one seed"""
    by_seed: dict[int, float]


@dataclass(frozen=True)
class Evaluation:
    """What was measured on held-out prompts at one step of a run."""

    seed: int
    step: int
    kl: float
    """Nats a sequence from the start; an estimate, which may be a little below 0"""
    rewards: dict[str, float]
    """The score, and each judge's"""

    @property
    def distance(self) -> float:
        """√KL."""
        return math.sqrt(max(0.0, self.kl))


@dataclass(frozen=True)
class Policy:
    """One policy of the grid."""

    name: str
    """'ppo.kl.beta=0.1', with the stage where the grid has policies of several"""
    stage: str
    values: dict[str, Any]
    """Of the keys of the grid that it depends on"""
    origin: str
    """Of those, what its start, its reward and its evaluation depend on, in words; empty where that is none"""
    last: dict[str, Mean]
    """Each measure of the model that it ended as"""
    first: dict[str, Mean]
    """And of the one that it began as"""
    evaluations: list[Evaluation]


@dataclass(frozen=True)
class BestOf:
    """Best-of-n sampling from the start."""

    n: int
    kl_bound: float
    """Nats that it is at most away: log n − (n − 1)/n"""
    rewards: dict[str, Mean]
    dropped: int
    """Prompts left out, over all seeds, since an answer to them was given no number"""


@dataclass(frozen=True)
class Fit:
    """A form of Gao et al. that was fitted to the gain of one measure over the start."""

    measure: str
    origin: str
    seed: int | None
    """Whose reward model alone it is of; None for all together"""
    found: FrontierFit
    peak: float | None
    """√KL at which it is highest, where that lies among the distances that were measured"""
    start: float
    """What the gain is added to"""
    to: float
    """The largest distance that was measured"""

    @property
    def is_poor(self) -> bool:
        return self.found.explained < POOR


@dataclass(frozen=True)
class Frontier:
    """All of it."""

    name: str
    """Of the recipe"""
    keys: list[str]
    """Of the grid"""
    seeds: list[int]
    runs: int
    """Of the sweep"""
    done: int
    measures: list[str]
    """In the order of the table"""
    rewards: list[str]
    """Those of them that more is better of: the score and the judges"""
    policies: list[Policy]
    baselines: dict[str, list[BestOf]]
    """By origin"""
    fits: list[Fit]


def frontier(
    name: str,
    keys: Sequence[str],
    runs: int,
    done: int,
    series: Sequence[Series],
    drawn: Mapping[str, Mapping[int, Drawn]],
) -> Frontier:
    """The figures of what is done of a sweep.

    Args:
        name: of the recipe.
        keys: of the grid.
        runs: of the sweep.
        done: of those.
        series: the policies of the grid.
        drawn: answers of the start, by origin and seed.
    """
    stages = {one.stage for one in series}
    policies = [made for one in series if (made := _policy(one, len(stages) > 1)) is not None]
    baselines = {origin: _best_of(by_seed) for origin, by_seed in drawn.items()}
    rewards = list(
        dict.fromkeys(reward for policy in policies for each in policy.evaluations for reward in each.rewards)
    )
    measured = dict.fromkeys(measure for policy in policies for measure in policy.last)
    return Frontier(
        name=name,
        keys=list(keys),
        seeds=sorted({seed for one in series for seed in one.runs}),
        runs=runs,
        done=done,
        measures=list(measured),
        rewards=rewards,
        policies=policies,
        baselines=baselines,
        fits=[fit for reward in rewards for fit in fits_of(reward, policies, baselines)],
    )


def _policy(series: Series, named: bool) -> Policy | None:
    """A policy of which a seed is done; `named` with its stage, as it is where the grid has nothing to call it by."""
    done = {seed: trial for seed, trial in series.runs.items() if series.stage in trial.stages_done}
    files = {seed: _stage_of(read_run(trial.root), series.stage) for seed, trial in done.items()}
    if not files:
        return None
    measured = {seed: (at_start(stage), at_end(stage)) for seed, stage in files.items()}
    first, last = ({seed: pair[end] for seed, pair in measured.items()} for end in (0, 1))
    return Policy(
        name=", ".join(filter(None, [series.stage if named or not series.values else "", as_label(series.values)])),
        stage=series.stage,
        values=dict(series.values),
        origin=as_label(series.origin),
        last=_means(last),
        first=_means(first),
        evaluations=[each for seed, stage in files.items() for each in _evaluations(seed, stage)],
    )


def _stage_of(run: RunFiles, name: str) -> StageFiles:
    return next(stage for stage in run.stages if stage.name == name)


def _evaluations(seed: int, stage: StageFiles) -> list[Evaluation]:
    """Those on the way."""
    rows = [row for row in stage.metrics if row.get("heldout_kl") is not None]
    return [Evaluation(seed, row["step"], row["heldout_kl"], rewards_at(row, stage)) for row in rows]


def _means(by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, Mean]:
    """Each measure that every seed has."""
    names = [name for name in next(iter(by_seed.values())) if all(name in one for one in by_seed.values())]
    return {name: mean_of({seed: one[name] for seed, one in by_seed.items()}, metric_of(name).bounds) for name in names}


def mean_of(by_seed: Mapping[int, float], bounds: Bounds = (None, None)) -> Mean:
    """Over seeds; where there are several, with its interval, which ends where the measure does."""
    values, (floor, ceiling) = list(by_seed.values()), bounds
    if len(values) == 1:
        return Mean(values[0], None, dict(by_seed))
    mean, low, high = mean_interval_of_few(values)
    low, high = low if floor is None else max(low, floor), high if ceiling is None else min(high, ceiling)
    return Mean(mean, (low, high), dict(by_seed))


def _best_of(by_seed: Mapping[int, Drawn]) -> list[BestOf]:
    """For every n of which all seeds have answers enough."""
    numbers = min((drawn.numbers for drawn in by_seed.values()), key=len, default=[])
    dropped = sum(drawn.dropped for drawn in by_seed.values())
    return [
        BestOf(n, best_of_n_kl_bound(n), _means({seed: drawn.best_of(n) for seed, drawn in by_seed.items()}), dropped)
        for n in numbers
    ]


def fits_of(reward: str, policies: Sequence[Policy], baselines: Mapping[str, Sequence[BestOf]]) -> Iterator[Fit]:
    """Both forms, for the policies of each origin together: a frontier is of a reward, and not of a price of KL."""
    for origin in dict.fromkeys(policy.origin for policy in policies):
        own = [policy for policy in policies if policy.origin == origin and reward in policy.first]
        begun = [one for policy in own for one in policy.first[reward].by_seed.items()]
        seeds = sorted({seed for seed, _ in begun})
        for seed in [None, *seeds] if len(seeds) > 1 else [None]:
            starts = [value for own_seed, value in begun if seed in (None, own_seed)]
            yield from _fit(reward, origin, seed, ONLINE, _gains(reward, own, seed), fmean(starts or [0.0]))
        best = [one for one in baselines.get(origin, []) if reward in one.rewards]
        if best:
            least = best[0].rewards[reward].mean
            gains = [(math.sqrt(one.kl_bound), one.rewards[reward].mean - least) for one in best]
            yield from _fit(reward, origin, None, BEST, gains, least)


def _gains(reward: str, policies: Sequence[Policy], seed: int | None) -> list[tuple[float, float]]:
    """Distance from the start, and what was gained over it, at each evaluation of one seed or of all."""
    return [
        (each.distance, each.rewards[reward] - policy.first[reward].by_seed[each.seed])
        for policy in policies
        for each in policy.evaluations
        if each.step and seed in (None, each.seed)
    ]


def _fit(
    reward: str, origin: str, seed: int | None, form: Form, reached: Sequence[tuple[float, float]], start: float
) -> Iterator[Fit]:
    """The form, if there are points enough."""
    distances, gains = [distance for distance, _ in reached], [gain for _, gain in reached]
    fit = fit_frontier(form, distances, gains)
    if fit is not None:
        inside = fit.peak is not None and min(distances) <= fit.peak <= max(distances)
        yield Fit(reward, origin, seed, fit, fit.peak if inside else None, start, max(distances))


def curve(fit: Fit, points: int = 60) -> tuple[list[float], list[float]]:
    """Distances, and what the form gives there."""
    distances = [fit.to * place / points for place in range(points + 1)]
    return distances, [fit.start + fit.found.gain(distance) for distance in distances]
