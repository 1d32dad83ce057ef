"""What the figures of a sweep come to, in sentences, and its table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from truing.functional import mean_interval_of_few
from truing.functional.frontier import Form
from truing.report.overview import Cell
from truing.report.wording import MISSING, interval, listed, nats, number, numbers, share, whole
from truing.sweep.frontier import BEST, ONLINE, Fit, Frontier, Mean, Policy
from truing.sweep.measures import KL, metric_of

START = "start"
_FORMS: dict[Form, str] = {ONLINE: "d(α − β log d)", BEST: "d(α − βd)"}


@dataclass(frozen=True)
class FitRow:
    """A form that was fitted."""

    name: str
    form: str
    alpha: str
    beta: str
    explained: str
    points: str
    peak: str


@dataclass(frozen=True)
class Row:
    """One policy, or what is held against it."""

    name: str
    policy: int | None
    """Its place among the policies"""
    cells: list[Cell]


def table(found: Frontier) -> list[Row]:
    """For each origin the start, its policies and best-of-n."""
    rows = []
    for origin in origins(found):
        own = [(place, policy) for place, policy in enumerate(found.policies) if policy.origin == origin]
        suffix = f" ({origin})" if origin else ""
        rows.append(Row(START + suffix, None, [_cell(own[0][1].first.get(measure)) for measure in found.measures]))
        rows += [
            Row(f"{place + 1}. {policy.name}", place, [_cell(policy.last.get(each)) for each in found.measures])
            for place, policy in own
        ]
        for best in found.baselines.get(origin, [])[-1:]:
            bound = Cell(f"≤ {nats(best.kl_bound)}", "a bound")
            cells = [bound if each == KL else _cell(best.rewards.get(each)) for each in found.measures]
            rows.append(Row(f"best of {best.n}{suffix}", None, cells))
    return rows


def origins(found: Frontier) -> list[str]:
    """Of the policies, in order."""
    return list(dict.fromkeys(policy.origin for policy in found.policies))


def sentences(found: Frontier) -> list[str]:
    """What there is to say, the most important first."""
    told = []
    if found.done < found.runs:
        told.append(f"{found.done} of {found.runs} runs are done; the same command goes on with the others.")
    if not found.policies:
        return told
    for reward in found.rewards:
        told += _best(reward, found)
        own = [fit for fit in found.fits if fit.measure == reward and fit.found.form == ONLINE]
        told += [fit_in_words(fit, [one for one in own if one.origin == fit.origin]) for fit in own if fit.seed is None]
    return told


def _best(reward: str, found: Frontier) -> Iterator[str]:
    """Which policy has most of it, and what best-of-n gives."""
    for origin in origins(found):
        own = [policy for policy in found.policies if policy.origin == origin and reward in policy.last]
        if own:
            best = max(own, key=lambda policy: policy.last[reward].mean)
            where = f" where {origin}" if origin else ""
            told = f"{metric_of(reward).title}{where}: {best.name} ends highest, at {_mean(best.last[reward])} and "
            told += f"{nats(best.last[KL].mean)} nats; the start is at {number(best.first[reward].mean)}"
            for one in found.baselines.get(origin, [])[-1:]:
                told += f", the best of {one.n} of its answers at {_mean(one.rewards[reward])} and at most "
                told += f"{nats(one.kl_bound)} nats"
                told += f" ({one.dropped:,} prompts left out, an answer to each had no number)" if one.dropped else ""
            yield f"{told}.{_alike(best, own, reward)}"


def _alike(best: Policy, policies: Sequence[Policy], reward: str) -> str:
    """Of which the best cannot be told apart, seed by seed."""
    close = [policy.name for policy in policies if policy is not best and not _is_clear(best, policy, reward)]
    if not close or len(best.last[reward].by_seed) < 2:
        return ""
    return f" Over these seeds it cannot be told from {listed(close)}."


def _is_clear(best: Policy, other: Policy, reward: str) -> bool:
    """Whether the 95% interval of the difference within seeds lies above 0."""
    one, two = best.last[reward].by_seed, other.last[reward].by_seed
    differences = [one[seed] - two[seed] for seed in one.keys() & two.keys()]
    return len(differences) > 1 and mean_interval_of_few(differences)[1] > 0


def fit_in_words(fit: Fit, alike: Sequence[Fit] = ()) -> str:
    """What a form says, and how far to trust it; among those `alike`, what it says of single seeds."""
    title, found = metric_of(fit.measure).title, fit.found
    where = f" where {fit.origin}" if fit.origin else ""
    alpha, beta = numbers(found.alpha, found.beta)
    told = f"{title}{where}: {_FORMS[found.form]} with α = {alpha}, β = {beta} explains "
    told += f"{share(max(0.0, found.explained))} of the variance of {found.points} points"
    if fit.is_poor:
        told += ": too little to read a peak off it"
    elif fit.peak is None:
        told += "; it has no peak within the distances that were measured"
    else:
        gain = number(fit.start + found.gain(fit.peak))
        told += f"; its peak is at √KL = {number(fit.peak)}, {nats(fit.peak**2)} nats, where it is {gain}"
    single = [one for one in alike if one.seed is not None]
    if any(one.peak is not None and not one.is_poor for one in single):
        told += f". Seed by seed, its peak is at {'; '.join(f'{_peak(one)} (seed {one.seed})' for one in single)}"
    return f"{told}."


def fit_table(found: Frontier) -> list[FitRow]:
    """Every form that was fitted, with its peak where that can be told."""
    return [
        FitRow(
            _what(fit),
            _FORMS[fit.found.form],
            number(fit.found.alpha),
            number(fit.found.beta),
            share(fit.found.explained),
            whole(fit.found.points),
            _peak(fit),
        )
        for fit in found.fits
    ]


def _what(fit: Fit) -> str:
    """The gain of what, from which start and at which seed."""
    seed = None if fit.seed is None else f"seed {fit.seed}"
    return ", ".join(filter(None, [metric_of(fit.measure).title, fit.origin, seed]))


def _peak(fit: Fit) -> str:
    if fit.is_poor:
        return "a poor fit"
    return "none within what was measured" if fit.peak is None else f"√KL {number(fit.peak)}, {nats(fit.peak**2)} nats"


def _cell(mean: Mean | None) -> Cell:
    return Cell(MISSING, "") if mean is None else Cell(number(mean.mean), interval(mean.ci95))


def _mean(mean: Mean) -> str:
    return " ".join(filter(None, [number(mean.mean), interval(mean.ci95)]))
