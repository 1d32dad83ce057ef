"""Does it help to label the answers of the policy that is there, and those that teach most? Three ways to spend labels.

    python benchmarks/rounds/run.py OUT [--seeds 5] [--labels 100] [--rounds 4]

chosen   4 rounds of 100 pairs, a fifth at random and the others where two reward models disagree most
random   4 rounds of 100 pairs, all drawn at random from the answers of the round's policy
at once  1 round of 400 pairs, drawn at random from the answers of the start

on the embedded world, judged by one simulated honest person. The start, all settings of reward model and PPO, and what
the person thinks of a pair are the same within a seed. Goes on where it was; writes OUT/rounds.json, which
docs/results/rounds.md has its figures from, and prints them.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from truing.config import load_recipe, recipe_shelf
from truing.config.recipe import Recipe
from truing.functional import mean_interval_of_few
from truing.labelling.people import new_link, who
from truing.labelling.simulated import AtStore, SimulatedPerson, judge_all
from truing.labelling.store import Store
from truing.report.content import plain
from truing.rounds.directory import RoundsDirectory, Settings, begin
from truing.rounds.loop import run_rounds
from truing.runs.interruption import stop_on_signals
from truing.runs.progress import LineProgress
from truing.worlds.reviews import gold_scores

RECIPE = ["variants={}", "reward.members=2", "reward.epochs=8", "ppo.updates=20", "evaluation.every=20"]
"""What differs from the quickstart"""
ARMS = ("chosen", "random", "at once")
FIRST_SEED = 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=100, help="a round")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    found: dict[str, dict[int, Any]] = {arm: {} for arm in ARMS}
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        for arm in ARMS:
            found[arm][seed] = measured(arm, seed, options)
            tell(found, options.out)


def measured(arm: str, seed: int, options: argparse.Namespace) -> Any:
    """The figures of one arm, run where it is not done."""
    directory = RoundsDirectory(options.out / f"seed-{seed}" / arm.replace(" ", "-"))
    rounds = 1 if arm == "at once" else options.rounds
    labels = options.labels * options.rounds // rounds
    if not directory.figures.exists() or len(json.loads(directory.figures.read_text())["rounds"]) < rounds:
        recipe = load_recipe(recipe_shelf()["quickstart"], [*RECIPE, f"seed={seed}"])
        settings = Settings(labels, 0.2 if arm == "chosen" else 1.0, judgements=50, each=1, simulated=True)
        take_over(directory, recipe, settings, options.out / f"seed-{seed}" / ARMS[0], arm == "random")
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


def tell(found: dict[str, dict[int, Any]], out: Path) -> None:
    """Writes and prints gold by arm and round, and the differences of the ends within seeds."""
    gold = {
        arm: {seed: [one["policy"]["judged"]["value"] for one in own["rounds"]] for seed, own in seeds.items()}
        for arm, seeds in found.items()
    }
    starts = {seed: own["start"]["judged"]["value"] for seed, own in found[ARMS[0]].items()}
    summary: dict[str, Any] = {"start": over_seeds(list(starts.values())), "gold": gold, "arms": {}, "differences": {}}
    for arm, seeds in gold.items():
        rounds = zip(*seeds.values(), strict=True)
        summary["arms"][arm] = {
            "gold": [over_seeds(list(values)) for values in rounds],
            "kl": [over_seeds(list(values)) for values in zip(*map(distances, found[arm].values()), strict=True)],
        }
    for one, other in (("chosen", "at once"), ("random", "at once"), ("chosen", "random")):
        shared = gold[one].keys() & gold[other].keys()
        apart = [gold[one][seed][-1] - gold[other][seed][-1] for seed in sorted(shared)]
        summary["differences"][f"{one} − {other}"] = over_seeds(apart) if apart else None
    out.mkdir(parents=True, exist_ok=True)
    (out / "rounds.json").write_text(json.dumps(plain(summary), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("arms", "differences"):
        for arm, figures in summary[name].items():
            print(f"{name}: {arm}: {figures}")


def distances(figures: Any) -> list[float]:
    return [one["policy"]["kl"]["value"] for one in figures["rounds"]]


def over_seeds(values: list[float]) -> dict[str, Any]:
    """The mean, and its 95% interval by Student's t."""
    if len(values) < 2:
        return {"mean": fmean(values), "ci95": None, "seeds": len(values)}
    mean, low, high = mean_interval_of_few(values)
    return {"mean": mean, "ci95": [low, high], "seeds": len(values)}


if __name__ == "__main__":
    main()
