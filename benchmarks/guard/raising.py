"""What raising β at an alarm is worth where nobody judges: the guard of `kind: none`, held against the true reward.

    python benchmarks/guard/raising.py [--cache DIR] [--seeds 17 18 ...] [--page-only]

Makes the runs that are not in the cache yet, each on one thread, and writes docs/results/raising.md from those that are
there. The cache may be that of run.py, whose unguarded runs are the same.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, median

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from guard.page import OF_THE_BEST, Runs, seeds_of, title  # noqa: E402
from guard.runs import HONEST, PLAIN, WATCHED, WATCHED_HONEST, WORLDS, Recorded, World, gather, make_all  # noqa: E402
from harness.environments import default_cache  # noqa: E402
from harness.tables import table, write  # noqa: E402

from truing.guard.smoke import KL_ALARM, LENGTH_ALARM, alarms  # noqa: E402

PAGE = ROOT / "docs" / "results" / "raising.md"
FIXED = PLAIN[2]
"""At the price that an alarm raises it to, from the beginning"""
CASES = (PLAIN[0], FIXED, WATCHED, HONEST, WATCHED_HONEST)
FINDINGS = (
    "**It is the penalty that mends.** From β = 0 gold had fallen below −1 at 9 of 15 alarms, and 13 of 15 runs ended "
    "better than without: at a KL of 3 to 10 nats, on average at 0.89 and 1.56 where β = 0.1 from the beginning comes "
    "to 0.80 and 1.51. Nothing had to be taken back, for the penalty draws a policy back by itself as long as there "
    "are updates left. Two runs were better off alone: reviews 19 by 0.03, and packing 18, which came back by "
    "itself, by 0.50.",
    "**Judgements add little to that on average, and tell who needs it.** These runs repeat those of [the guard's "
    "page](guard.md) to the digit where both have them. There 400 judgements from β = 0 end at 0.88 and 1.63, and at "
    "nine tenths of the best of three fixed β in 7 and 5 of 8 seeds, where alarms alone do in 5 and 4. So from β = 0 "
    "most of what the judged guard is worth in these worlds is that it raises β. But it left alone what the alarms "
    "spoilt: packing 18 (2.25), and the honest run of reviews 23, which rang for length at update 6 and ended at 1.01 "
    "instead of 1.38.",
    "**What this does not say.** In both worlds what is gamed is bound up with length, which the alarms watch, and "
    "0.1 is a price at which both rewards hold; where it is not, an alarm raises β to a guess. All alarms rang in the "
    "first two thirds of the updates: a later one leaves fewer to come back in, at a learning rate that falls to 0. "
    "Runs from β = 0.02 were not made. The limit of length was chosen on the honest runs of the reviews.",
)
"""Of the runs that the page was written from"""


def rang(run: Recorded) -> int | None:
    """The update at which the guard's one alarm came."""
    first, *later = run.metrics
    return next((row["step"] for row in later if alarms(first, row)), None)


def by_seed(runs: Runs, world: World) -> str:
    """Gold at the end of every run, and what the alarm was to a policy that began without a penalty."""
    rows = []
    for seed in seeds_of(runs, world, PLAIN[0], WATCHED):
        found = [runs.get((world, seed, case)) for case in CASES]
        cells = [f"{run.end:.2f} ({run.peak:.2f})" if run else "" for run in found]
        rows.append([seed, *cells, *_alarm(runs[world, seed, WATCHED])])
    return table(["seed", *map(title, CASES), "rang after update", "gold then", "KL then, at the end"], rows)


def _alarm(run: Recorded) -> list[str]:
    step, nats = rang(run), {row["step"]: row["heldout_kl"] for row in run.metrics}
    end = nats[max(nats)]
    if step is None:
        return ["none", "", f"{end:.0f}"]
    return [str(step), f"{run.gold[step]:.2f}", f"{nats[step]:.0f}, {end:.0f}"]


def worth(runs: Runs) -> str:
    """The worlds beside each other, in brief."""
    lines = [_worth(runs, world) for world in WORLDS]
    rows = [[what, *(line[what] for line in lines)] for what in lines[0]]
    return table(["", *(world.name for world in WORLDS)], rows)


def _worth(runs: Runs, world: World) -> dict[str, str]:
    seeds = seeds_of(runs, world, PLAIN[0], FIXED, WATCHED)
    watched, fixed = ([runs[world, seed, case] for seed in seeds] for case in (WATCHED, FIXED))
    shares = [one.end / other.end for one, other in zip(watched, fixed, strict=True)]
    rung = [seed for run, seed in zip(watched, seeds, strict=True) if rang(run) is not None]
    better = sum(runs[world, seed, WATCHED].end > runs[world, seed, PLAIN[0]].end for seed in rung)
    honest = seeds_of(runs, world, WATCHED_HONEST)
    false = [seed for seed in honest if rang(runs[world, seed, WATCHED_HONEST]) is not None]
    lost = [runs[world, seed, HONEST].end - runs[world, seed, WATCHED_HONEST].end for seed in false]
    reached = sum(share >= OF_THE_BEST for share in shares)
    return {
        "β = 0, nobody looks: gold at the end, mean, lowest": _ends(runs[world, seed, PLAIN[0]] for seed in seeds),
        "β = 0, raised at an alarm": _ends(watched),
        "β = 0.1 from the beginning": _ends(fixed),
        "alarms from β = 0": f"{len(rung)} of {len(seeds)}",
        "of these, better at the end than without": f"{better} of {len(rung)}",
        f"at least {OF_THE_BEST} of what β = 0.1 reaches": f"{reached} of {len(seeds)}, median {median(shares):.2f}",
        "false alarms, true reward": f"{len(false)} of {len(honest)}",
        "gold that each of them cost": ", ".join(f"{one:.2f}" for one in lost) or "none",
    }


def _ends(found: Iterable[Recorded]) -> str:
    ends = [run.end for run in found]
    return f"{fmean(ends):.2f}, {min(ends):.2f}"


def parts(runs: Runs) -> Iterable[str]:
    """The page's paragraphs and tables."""
    yield "# What raising β at an alarm is worth"
    yield (
        "Written by `python benchmarks/guard/raising.py`. The two worlds of [the guard's page](guard.md), whose true "
        "reward (gold) is known, 45 updates, a look at 128 held-out answers each three; here nobody judges: "
        "`guard: {mode: rollback, judge: {kind: none}}`. The first alarm, a KL above "
        f"{KL_ALARM:g} nats or answers {LENGTH_ALARM:g} times longer or shorter than before training, raises β from 0 "
        "to 0.1, once; nothing is taken back, and the last update is the result. Gold is in standard deviations of the "
        "demonstrations', the mean of 128 held-out prompts."
    )
    yield worth(runs)
    yield from FINDINGS
    for world in WORLDS:
        yield f"## {world.name.capitalize()}"
        yield (
            "Gold at the end of each run and, in brackets, the highest on the way. *Alarms*: watched as above. *True "
            "reward*: the same optimiser with gold as its reward, where an alarm is false. Runs that were not made "
            "have empty cells: where no alarm rings, the run that is not watched is the same."
        )
        yield by_seed(runs, world)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=default_cache() / "guard", help="runs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(17, 25))
    parser.add_argument("--page", type=Path, default=PAGE, help="where the results go (%(default)s)")
    parser.add_argument("--page-only", action="store_true", help="make no run")
    told = parser.parse_args()
    torch.set_num_threads(1)
    cache = told.cache.resolve()
    if not told.page_only:
        make_all(cache, told.seeds, WORLDS, CASES)
    write(told.page, *parts(gather(cache, told.seeds, CASES)))


if __name__ == "__main__":
    main()
