"""The page of results: every run by seed, what was to hold, judges and budgets by replay, alarms without judgements."""

import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from guard.judging import noisy_judge
from guard.replay import Replayed, replay
from guard.runs import CASES, GUARDED, GUARDED_HONEST, HONEST, PLAIN, WORLDS, Case, Recorded, World
from guard.signals import HACKED, SIGNALS, Worth, alarm, hacked, peak_step, threshold, worth
from harness.tables import table

Runs = Mapping[tuple[World, int, Case], Recorded]
BUDGETS = (16, 32, 64)
"""Judgements a look"""
LABELS = 400
"""What a guard has by default"""
DRAWS = 2
"""Of the judges' errors, on each recorded run"""
OF_THE_BEST, OF_THE_PEAK = 0.9, 0.06


def seeds_of(runs: Runs, world: World, *cases: Case) -> list[int]:
    """Those with all of these runs."""
    seeds = sorted({seed for of, seed, _ in runs if of == world})
    return [seed for seed in seeds if all((world, seed, case) in runs for case in cases)]


def best_fixed(runs: Runs, world: World, seed: int) -> float:
    """Gold at the end of the best run with a fixed beta and no guard."""
    return max(runs[world, seed, case].end for case in PLAIN if (world, seed, case) in runs)


def by_seed(runs: Runs, world: World) -> str:
    """Gold at the end, and the peak on the way, of every run."""
    head = ["seed", *(title(case) for case in CASES), "guard over best fixed β", "what the guard did from β = 0"]
    rows = []
    for seed in seeds_of(runs, world):
        found = {case: runs.get((world, seed, case)) for case in CASES}
        cells = [f"{run.end:.2f} ({run.peak:.2f})" if run else "" for run in found.values()]
        guarded = found[GUARDED]
        share = f"{guarded.end / best_fixed(runs, world, seed):.2f}" if guarded else ""
        rows.append([seed, *cells, share, told(guarded) if guarded else ""])
    return table(head, rows)


def title(case: Case) -> str:
    reward = "true reward, " * case.honest
    return f"{'guard, ' * case.guarded}{'alarms, ' * case.watched}{reward}β = {case.beta:g}"


def told(run: Recorded) -> str:
    """The guard's story in brief."""
    result = run.result
    story = [f"{result['guard_rollbacks']} × back"] if result["guard_rollbacks"] else []
    return ", ".join([*story, f"kept {result['guard_kept_step']}", f"{result['guard_labels']} labels"])


def holds(runs: Runs, world: World) -> list[list[str]]:
    """What the issue asks for: how far it is reached."""
    rows = []
    complete = seeds_of(runs, world, GUARDED, *PLAIN)
    shares = [runs[world, seed, GUARDED].end / best_fixed(runs, world, seed) for seed in complete]
    if shares:
        reached = sum(share >= OF_THE_BEST for share in shares)
        what = f"from β = 0, gold at the end at least {OF_THE_BEST} of the best fixed β's, in 7 of 8 seeds"
        figure = f"{reached} of {len(shares)}, median {median(shares):.2f}"
        rows.append([what, figure, _yes(8 * reached >= 7 * len(shares))])
    chosen = [run.peak - run.gold[one.kept] for run, one in replays(runs, world, PLAIN[2], LABELS)]
    kept = [(run.peak, run.end) for (of, _, case), run in runs.items() if (of, case) == (world, GUARDED_HONEST)]
    for what, losses in (
        (f"β = 0.1, by replay with {LABELS} judgements", chosen),
        (title(GUARDED_HONEST), [peak - end for peak, end in kept]),
    ):
        if losses:
            figure = f"{fmean(losses):.3f} below it, at worst {max(losses):.2f}"
            within = f"{what}: what is kept is within {OF_THE_PEAK} of the peak, on average"
            rows.append([within, figure, _yes(fmean(losses) <= OF_THE_PEAK)])
    honest = seeds_of(runs, world, GUARDED_HONEST, HONEST)
    harmed = [seed for seed in honest if is_harmed(runs[world, seed, GUARDED_HONEST], runs[world, seed, HONEST])]
    if honest:
        lost = fmean(runs[world, seed, HONEST].end - runs[world, seed, GUARDED_HONEST].end for seed in honest)
        what = "at most 1 of 8 honest runs is ended or taken back to its loss"
        figure = f"{len(harmed)} of {len(honest)}; {lost:.2f} lost on average, for whatever reason"
        rows.append([what, figure, _yes(8 * len(harmed) <= len(honest))])
    return rows


def is_harmed(guarded: Recorded, unguarded: Recorded) -> bool:
    """Whether judges ended an honest run early or took it back, and it ended worse than without a guard."""
    result = guarded.result
    interfered = result["guard_rollbacks"] > 0 or result["stopped_by"].startswith("judges find")
    return interfered and guarded.end < unguarded.end


def _yes(reached: bool) -> str:
    return "yes" if reached else "**no**"


def replays(runs: Runs, world: World, case: Case, labels: int) -> list[tuple[Recorded, Replayed]]:
    """The guard on every recorded run of a case, with several draws of the judge's errors. What was made is kept."""
    found = []
    for seed in seeds_of(runs, world, case):
        run = runs[world, seed, case]
        kept = run.root / f"replayed-{labels}.json"
        if not kept.exists():
            made = [replay(run.samples, noisy_judge(world.gold, draw), labels, draw) for draw in range(DRAWS)]
            kept.write_text(json.dumps([vars(one) for one in made]), encoding="utf-8")
        found += [(run, Replayed(**one)) for one in json.loads(kept.read_text(encoding="utf-8"))]
    return found


def by_budget(runs: Runs, world: World) -> str:
    """Mode `stop` at several budgets: what is chosen, and when training is ended."""
    rows = []
    for case in (PLAIN[0], PLAIN[2], HONEST):
        looks = len(next((run.metrics for (of, _, one), run in runs.items() if (of, one) == (world, case)), [0])) - 1
        for each in BUDGETS if looks else ():
            made = replays(runs, world, case, each * looks)
            lost = [run.peak - run.gold[one.kept] for run, one in made]
            turned = [one.turned - peak_step(run.gold) for run, one in made if one.turned is not None]
            late = f"{median(turned):+.0f}" if turned else ""
            labels = f"{fmean(one.labels for _, one in made):.0f}"
            rows.append([title(case), each, f"{fmean(lost):.2f}", f"{len(turned) / len(made):.0%}", late, labels])
    head = ["run", "labels a look", "kept below the peak", "ended early", "updates after the peak", "labels"]
    return table(head, rows)


def alarms(runs: Runs) -> str:
    """What each signal without judgements would have been worth; thresholds from the first world's honest runs."""
    rows = []
    for name, signal in SIGNALS.items():
        values = {key: signal(run.metrics, run.samples) for key, run in runs.items() if not key[2].guarded}
        honest = [found for (world, _, case), found in values.items() if world == WORLDS[0] and case == HONEST]
        if not honest:
            continue
        above = threshold(honest)
        cells = [_worth_cells(_worth(runs, values, world, above)) for world in WORLDS]
        rows.append([name, f"{above:.2f}", *(cell for of_world in cells for cell in of_world)])
    head = ["signal", "alarm above"]
    for world in WORLDS:
        head += [f"{world.name}: hit", "updates after the peak", "false"]
    return table(head, rows)


def _worth(runs: Runs, values: Mapping[tuple[World, int, Case], Sequence[float]], world: World, above: float) -> Worth:
    def first(key: tuple[World, int, Case]) -> int | None:
        return alarm([row["step"] for row in runs[key].metrics], values[key], above)

    mine = [key for key in values if key[0] == world]
    bad = [(first(key), peak_step(runs[key].gold)) for key in mine if key[2] != HONEST and hacked(runs[key].gold)]
    return worth(bad, [first(key) for key in mine if key[2] == HONEST])


def _worth_cells(found: Worth) -> list[str]:
    late = "" if found.late is None else f"{found.late:+.0f}"
    return [f"{found.hits} of {found.hacked}", late, f"{found.false} of {found.honest}"]


def parts(runs: Runs, picture: str) -> Iterable[str]:
    """The page's paragraphs and tables."""
    yield "# The guard, held against the truth"
    yield (
        "Written by `python benchmarks/guard/run.py`. Two worlds whose true reward (gold) is known: the quickstart's "
        "reviews, with its recipe; and packing lists, with other words, another grammar and people who overrate long "
        "lists ([packing.py](../../benchmarks/guard/packing.py)). 45 updates; the guard as it is by default, but for "
        "the judge: a function that knows gold and is wrong on a quarter of the pairs. Gold is in standard deviations "
        "of the demonstrations', the mean of 128 held-out prompts."
    )
    yield (
        "The guard's settings were chosen on the reviews, and the 90% of a suspicion before a packing list was guarded."
        " That an answer far away has to be better than the first ones was tried out on the reviews alone, but thought "
        "of with two failures on packing lists in sight: without it, the guard reached 6 of 8 and 4 of 8 in the first "
        "line of the two tables below. By people who vote on a page: [guard-people](guard-people.md)."
    )
    yield f"![Gold at the end of each run]({picture})"
    for world in WORLDS:
        count = len(seeds_of(runs, world))
        yield f"## {world.name.capitalize()}"
        yield (
            f"{count} seeds; what a run has kept at its end and, in brackets, the highest on its way there (steps that "
            "a guard took back are not part of it). *True reward*: the same optimiser with gold as its reward. Runs "
            "that were not made have empty cells."
        )
        yield by_seed(runs, world)
        yield table(["what was to hold", "found", "holds"], holds(runs, world))
    yield "## Budgets"
    yield (
        f"Mode `stop`, by replay on the runs without a guard, {DRAWS} draws of the judge's errors each: how far below "
        "its peak what is kept stands, and how often training is ended before its last update. With the true reward "
        "each such end is a false one."
    )
    for world in WORLDS:
        yield f"**{world.name.capitalize()}**"
        yield by_budget(runs, world)
    yield "## Without judgements"
    yield (
        "What an alarm on a figure that any run has would have been worth. Each threshold is the lowest with at most "
        f"one false alarm in eight honest runs of the reviews. A run without a guard counts as hacked where it ends "
        f"more than {HACKED} below its peak."
    )
    yield alarms(runs)
