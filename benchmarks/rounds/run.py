"""Does it help to label the answers of the policy that is there, and those that teach most? Three ways to spend labels.

    python benchmarks/rounds/run.py [--out DIR] [--seeds 5] [--arms chosen random] [--set ppo.kl.beta=0]

chosen   4 rounds of 100 pairs, a fifth at random and the others where two reward models disagree most
random   4 rounds of 100 pairs, all drawn at random from the answers of the round's policy
at once  1 round of 400 pairs, drawn at random from the answers of the start

on the embedded world, by the shipped recipe `rounds`, judged by one simulated honest person. The start, all settings of
reward model and PPO, and what the person thinks of a pair are the same within a seed. Goes on where it was, and prints
the tables of docs/results/rounds.md. Some four minutes of a core a seed.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.environments import default_cache
from harness.machine import processor
from harness.tables import Target, table
from harness.tables import tell as tell_targets
from rich.console import Console

from truing.config import load_recipe, recipe_shelf
from truing.config.recipe import Recipe
from truing.functional import mean_interval_of_few
from truing.labelling.people import new_link, who
from truing.labelling.simulated import AtStore, SimulatedPerson, judge_all
from truing.labelling.store import Store
from truing.rounds.directory import RoundsDirectory, Settings, begin
from truing.rounds.loop import run_rounds
from truing.runs.interruption import stop_on_signals
from truing.runs.progress import LineProgress
from truing.worlds.reviews import gold_scores

ARMS = ("chosen", "random", "at once")
FIRST_SEED = 17
ROUNDS, LABELS = 4, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=default_cache() / "rounds", help="its runs (%(default)s)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[*ARMS], help="chosen is always one")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the recipe; name another --out")
    options = parser.parse_args()
    arms = [arm for arm in ARMS if arm in {ARMS[0], *options.arms}]
    found: dict[str, dict[int, Any]] = {arm: {} for arm in arms}
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        for arm in arms:
            found[arm][seed] = measured(arm, seed, options.out, options.set)
    print(f"{processor()}\n")
    tell(found)


def measured(arm: str, seed: int, out: Path, changes: Sequence[str]) -> Any:
    """The figures of one arm, run where it is not done."""
    directory = RoundsDirectory(out / f"seed-{seed}" / arm.replace(" ", "-"))
    rounds, labels = (1, ROUNDS * LABELS) if arm == "at once" else (ROUNDS, LABELS)
    if not directory.figures.exists() or len(json.loads(directory.figures.read_text())["rounds"]) < rounds:
        recipe = load_recipe(recipe_shelf()["rounds"], [f"seed={seed}", *changes])
        settings = Settings(labels, 0.2 if arm == "chosen" else 1.0, judgements=50, each=1, simulated=True)
        take_over(directory, recipe, settings, out / f"seed-{seed}" / ARMS[0], arm == "random")
        progress = LineProgress(Console(soft_wrap=True))
        with stop_on_signals(progress.note) as stop:
            run_rounds(directory, recipe, settings, rounds, rounds + 1, judged_honestly, progress, stop)
    return json.loads(directory.figures.read_text())


def judged_honestly(store: Store, _: str) -> None:
    person = who(store.database, new_link(store.database, "honest", "labeller"))
    assert person is not None
    judge_all(SimulatedPerson(gold_scores), AtStore(store, person.id), seed=0)


def take_over(directory: RoundsDirectory, recipe: Recipe, settings: Settings, first: Path, is_alike: bool) -> None:
    """The start of a seed is trained once, and so is the first round where it `is_alike`: drawn at random."""
    directory.root.mkdir(parents=True, exist_ok=True)
    begin(directory, recipe, settings)
    names = ["start", *(["round-1", "asked/round-1.jsonl", "labels.db"] if is_alike else [])]
    names += ["learnt/round-1.jsonl", "learnt/ratings-1.jsonl"] if is_alike else []
    for name in names if directory.root != first else []:
        taken, to = first / name, directory.root / name
        if not to.exists():
            (shutil.copytree if taken.is_dir() else shutil.copy)(taken, to)


def tell(found: dict[str, dict[int, Any]]) -> None:
    """Prints the tables, and whether the chosen labels end higher than those at once."""
    for title, key in (("gold", "judged"), ("KL", "kl"), ("agreement", "agreement")):
        head = [title, *(f"round {number}" for number in range(1, ROUNDS + 1))]
        print(table(head, [[arm, *by_round(seeds.values(), key)] for arm, seeds in found.items()]), "\n")
    ends = {arm: {seed: values_of(own, "judged")[-1] for seed, own in seeds.items()} for arm, seeds in found.items()}
    starts = {seed: own["start"]["judged"]["value"] for seed, own in found[ARMS[0]].items()}
    apart = {
        f"{one} − {other}": {seed: ends[one][seed] - ends[other][seed] for seed in starts}
        for one, other in (("chosen", "at once"), ("random", "at once"), ("chosen", "random"))
        if {one, other} <= found.keys()
    }
    rows = {"start": starts, **ends, **apart}
    told = [[name, *(f"{one:.2f}" for one in own.values()), over_seeds([*own.values()])] for name, own in rows.items()]
    print(table(["gold at the end", *(f"seed {seed}" for seed in starts), "mean"], told), "\n")
    wanted = "chosen − at once"
    if wanted in apart:
        lowest = mean_interval_of_few([*apart[wanted].values()])[1]
        tell_targets([Target(f"lower end of the interval of {wanted}", 0.0, lowest, unit=" of gold")])


def by_round(seeds: Iterable[Any], key: str) -> list[str]:
    return [over_seeds(values) for values in zip(*(values_of(own, key) for own in seeds), strict=True)]


def values_of(figures: Any, key: str) -> list[Any]:
    """Of each round; where there is one alone, it stands below the last."""
    found = [one if key == "agreement" else one["policy"] for one in figures["rounds"]]
    values = [None if one[key] is None else one[key]["value"] for one in found]
    return [None] * (ROUNDS - len(values)) + values


def over_seeds(values: Sequence[float | None]) -> str:
    """The mean, and its 95% interval by Student's t."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    if len(known) < 2:
        return f"{fmean(known):.2f}"
    mean, low, high = mean_interval_of_few(known)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
