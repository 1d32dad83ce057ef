"""The drawings of a sweep: reward against √KL, and each measure of the policies side by side."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from truing.core.metrics import Bounds
from truing.report.svg import INK, MUTED, PAPER, RULE, SERIES, blank, inline_svg, series_colour
from truing.report.wording import setting
from truing.sweep.frontier import ONLINE, Fit, Frontier, Mean, Policy, curve
from truing.sweep.measures import KL, metric_of

MARKERS = ("o", "s", "^", "D", "v")
"""Of the first policies that share the colours, of the next ones, and so on"""


def marker_of(place: int) -> str:
    """Of a policy, by its place among all."""
    return MARKERS[place // SERIES % len(MARKERS)]


def reward_chart(name: str, found: Frontier, origin: str, measure: str) -> Markup:
    """Every evaluation of every run, where each policy ended, best-of-n from the same start, and the forms fitted."""
    metric = metric_of(measure)
    figure, axes = blank(4.4, 3.0)
    own = [
        (place, policy)
        for place, policy in enumerate(found.policies)
        if policy.origin == origin and measure in policy.last
    ]
    for place, policy in own:
        _draw_policy(axes, policy, measure, place)
    best = [
        (math.sqrt(one.kl_bound), one.rewards[measure].mean)
        for one in found.baselines.get(origin, [])
        if measure in one.rewards
    ]
    _draw_best_of(axes, best)
    for fit in found.fits:
        if (fit.origin, fit.measure, fit.seed, fit.found.form) == (origin, measure, None, ONLINE):
            _draw_fit(axes, fit)
    reached = [(each.distance, each.rewards[measure]) for _, policy in own for each in policy.evaluations] + best
    axes.set_xlim(0, 1.06 * max(distance for distance, _ in reached) or 1.0)
    _frame(axes, [reward for _, reward in reached])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("√KL to the start, √nats")
    axes.set_ylabel(metric.unit)
    return inline_svg(figure, name, f"{metric.heading} against √KL")


def measure_chart(name: str, policies: Sequence[tuple[int, Policy]], measure: str) -> Markup:
    """A measure of policies, each with its place among all, side by side; dashed where they began."""
    metric = metric_of(measure)
    figure, axes = blank(3.4, 2.0)
    begun = [policy.first[measure].mean for _, policy in policies if measure in policy.first and measure != KL]
    if begun:
        axes.axhline(sum(begun) / len(begun), color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for across, (place, policy) in enumerate(policies):
        if measure in policy.last:
            _draw_mean(axes, across, policy.last[measure], place)
    axes.set_xticks(range(len(policies)), ticks_of(policies))
    axes.set_xlim(-0.5, len(policies) - 0.5)
    axes.set_ylabel(metric.unit)
    _frame(axes, begun + [value for _, policy in policies for value in _values(policy, measure)], metric.bounds)
    return inline_svg(figure, name, metric.heading)


def _values(policy: Policy, measure: str) -> list[float]:
    """Of every seed."""
    return list(policy.last[measure].by_seed.values()) if measure in policy.last else []


def ticks_of(policies: Sequence[tuple[int, Policy]]) -> list[str]:
    """What stands below each: its value where one key alone differs and has numbers, else its row in the table."""
    values = [policy.values for _, policy in policies]
    keys = {key for own in values for key in own}
    numbers = [number for own in values for number in own.values() if type(number) in (int, float)]
    if len(keys) == 1 and len(numbers) == len(policies):
        return [setting(number) for number in numbers]
    return [str(place + 1) for place, _ in policies]


def _draw_policy(axes: Axes, policy: Policy, measure: str, place: int) -> None:
    """Its evaluations, small, and where it ended, large, with its intervals."""
    colour, marker = series_colour(place), marker_of(place)
    distances = [each.distance for each in policy.evaluations]
    rewards = [each.rewards[measure] for each in policy.evaluations]
    axes.plot(distances, rewards, marker, color=colour, markersize=3.0, markeredgewidth=0, alpha=0.45)
    reward, kl = policy.last[measure], policy.last[KL]
    across = math.sqrt(max(0.0, kl.mean))
    if kl.ci95 is not None and reward.ci95 is not None:
        low, high = (math.sqrt(max(0.0, end)) for end in kl.ci95)
        axes.plot([low, high], [reward.mean] * 2, color=colour, linewidth=1.1)
        axes.plot([across] * 2, reward.ci95, color=colour, linewidth=1.1)
    axes.plot([across], [reward.mean], marker, color=colour, markersize=7, markeredgecolor=PAPER)


def _draw_best_of(axes: Axes, best: Sequence[tuple[float, float]]) -> None:
    """Distances, and what best-of-n gives there."""
    small: Any = {"marker": "s", "markersize": 2.6, "markeredgecolor": PAPER, "markeredgewidth": 0.3}
    distances, rewards = [distance for distance, _ in best], [reward for _, reward in best]
    axes.plot(distances, rewards, color=MUTED, linewidth=1.2, linestyle=(0, (3, 1.5)), **small)


def _draw_mean(axes: Axes, across: int, mean: Mean, place: int) -> None:
    colour = series_colour(place)
    if mean.ci95 is not None:
        axes.plot([across] * 2, mean.ci95, color=colour, linewidth=1.6)
    values = list(mean.by_seed.values())
    axes.plot([across] * len(values), values, linestyle="none", marker="_", color=colour, markersize=5, alpha=0.7)
    axes.plot([across], [mean.mean], marker_of(place), color=colour, markersize=5.5, markeredgecolor=PAPER)


def _draw_fit(axes: Axes, fit: Fit) -> None:
    """The curve, with its peak; one that fits poorly is pale and has none."""
    axes.plot(*curve(fit), color=RULE if fit.is_poor else INK, linewidth=1.0)
    if fit.peak is not None and not fit.is_poor:
        top = fit.start + fit.found.gain(fit.peak)
        axes.plot([fit.peak], [top], marker="|", color=INK, markersize=9, markeredgewidth=1.2)


def _frame(axes: Axes, values: Sequence[float], bounds: Bounds = (None, None)) -> None:
    """An axis for these values, and no further than their measure goes; an interval beyond it is cut off."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.3 * (high - low) or 0.1 * abs(high) or 1.0
    floor, ceiling = bounds
    bottom = low - room if floor is None else max(low - room, floor - 0.03 * (high - floor))
    axes.set_ylim(bottom, high + room if ceiling is None else min(high + room, ceiling + 0.03 * (ceiling - low)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
