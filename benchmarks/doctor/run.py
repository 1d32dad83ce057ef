"""What `truing doctor` predicts against what runs take: memory at each phase's peak, and seconds of a step.

    python benchmarks/doctor/run.py CACHE [RECIPE ...]

CACHE is where examples/movies/prepare.py has put the movies. Three recipes, or those that are named, are run for a few
steps each: the quickstart, and the movies with shared and with separate roles. Prints the table of docs/doctor.md. Each
is run twice, once for memory and once for time (watched.py); the machine should do nothing else.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

KEPT = {"demonstrations": 70, "preferences": 70, "heldout_preferences": 30, "prompts": 200}
"""Rows of each file"""
SHORT = [
    "ppo.updates=3",
    "rollout.max_new_tokens=16",  # after so few steps, hardly a response ends before it is cut
    "evaluation.prompts=32",
    "rewards.normalisation_samples=32",
    "evaluation.every=100",
    "checkpoints.every_steps=2",
    "judges={}",
]
PREDICT = """
import json, sys
from pathlib import Path
from truing.doctor.diagnosis import diagnose
from truing.config import load_recipe
found = diagnose(load_recipe(Path(sys.argv[1]), sys.argv[2:]))
names = [f"{phase.stage} {phase.name}" for phase in found.phases]
print(json.dumps([found.peak, dict(zip(names, zip(map(found.bytes, found.phases), found.seconds)))]))
"""


def main() -> None:
    """Prints the rows of each recipe as soon as it is measured."""
    cache, named = Path(sys.argv[1]), sys.argv[2:]
    with TemporaryDirectory() as place:
        short = [*SHORT, *_few_rows(cache, Path(place))]
        movies, quickstart = cache / "movies.yaml", Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
        cases = {
            "quickstart": (quickstart, ["sft.epochs=1", "reward.epochs=1", "ppo.updates=3", "ppo.variants={}"]),
            "movies, shared": (movies, short),
            "movies, separate": (movies, [*short, "roles=separate"]),
        }
        print("| recipe | phase | GB predicted | measured | ratio | s predicted | measured | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for name, (recipe, changes) in cases.items():
            if not named or name in named:
                _compare(name, recipe, changes, Path(place))


def _compare(name: str, recipe: Path, changes: list[str], place: Path) -> None:
    watched = str(Path(__file__).with_name("watched.py"))
    memory, took = (
        _said(watched, wanted, str(place / f"{name} {wanted}"), str(recipe), *changes) for wanted in ("memory", "time")
    )
    peak, phases = _said("-c", PREDICT, str(recipe), *changes)
    for phase, (size, seconds) in phases.items():
        if phase in memory:
            print(f"| {name} | {phase} |{_row(size / 1e9, memory[phase] / 1e9)}{_times(seconds, took.get(phase))}")
    parts = [f"ppo {part}" for part in ("rollout", "score", "learn")]  # of one step of PPO
    update = sum(phases[part][1] for part in parts), sum(_usual(took[part]) for part in parts)
    print(f"| {name} | ppo update | | | |{_row(*update)}")
    print(f"| **{name}** | the run |{_row(peak / 1e9, took['peak'] / 1e9)} | | |", flush=True)


def _times(predicted: float | None, laps: list[float] | None) -> str:
    return " | | |" if predicted is None or laps is None else _row(predicted, _usual(laps))


def _usual(laps: list[float]) -> float:
    """The average but for the first, which meets all memory for the first time."""
    return fmean(laps[1:] or laps)


def _row(predicted: float, measured: float) -> str:
    return f" {predicted:.3g} | {measured:.3g} | {predicted / measured:.2f} |"


def _said(*command: str) -> Any:
    """What another process prints as JSON."""
    done = subprocess.run([sys.executable, "-W", "ignore", *command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _few_rows(cache: Path, place: Path) -> list[str]:
    """The first rows of each file, and the overrides that name them."""
    for name, count in KEPT.items():
        lines = (cache / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (place / f"{name}.jsonl").write_text("".join(lines[:count]), encoding="utf-8")
    return [f"data.{name}.path={json.dumps(str(place / name) + '.jsonl')}" for name in KEPT]


if __name__ == "__main__":
    main()
