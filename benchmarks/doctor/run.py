"""The peak of resident memory that `truing doctor` predicts, against that of the run.

    python benchmarks/doctor/run.py CACHE

CACHE is where examples/movies/prepare.py has put the movies. Three recipes are run for a few steps each: the
quickstart, and the movies with shared and with separate roles. Prints the table of docs/doctor.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

KEPT = {"demonstrations": 70, "preferences": 70, "heldout_preferences": 30, "prompts": 200}
"""Rows of each file"""
SHORT = [
    "ppo.updates=2",
    "ppo.heldout_prompts=32",
    "reward.normalisation_samples=32",
    "dpo.heldout_every=100",
    "checkpoints.every_steps=2",
    "judges={}",
]
PREDICT = """
import sys
from pathlib import Path
from truing.doctor.diagnosis import diagnose
from truing.recipe_files import load_recipe
print(diagnose(load_recipe(Path(sys.argv[1]), sys.argv[2:])).peak)
"""


def main() -> None:
    """Prints a row for each recipe as soon as it is measured."""
    with TemporaryDirectory() as place:
        short = [*SHORT, *_few_rows(Path(sys.argv[1]), Path(place))]
        movies, quickstart = (
            Path(sys.argv[1]) / "movies.yaml",
            Path(__file__).parents[2] / "recipes" / "quickstart.yaml",
        )
        cases = {
            "quickstart": (quickstart, ["sft.epochs=1", "reward.epochs=1", "ppo.updates=3", "ppo.variants={}"]),
            "movies, shared": (movies, short),
            "movies, separate": (movies, [*short, "roles=separate"]),
        }
        print("| recipe | predicted | measured | predicted / measured |\n|---|---|---|---|")
        for name, (recipe, changes) in cases.items():
            said = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", PREDICT, recipe, *changes],
                check=True,
                capture_output=True,
                text=True,
            )
            ours, theirs = float(said.stdout.split()[-1]), _measured(recipe, changes, Path(place) / name)
            print(f"| {name} | {ours / 1e9:.2f} GB | {theirs / 1e9:.2f} GB | {ours / theirs:.2f} |", flush=True)


def _few_rows(cache: Path, place: Path) -> list[str]:
    """The first rows of each file, and the overrides that name them."""
    for name, count in KEPT.items():
        lines = (cache / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (place / f"{name}.jsonl").write_text("".join(lines[:count]), encoding="utf-8")
    return [f"data.{name}.path={json.dumps(str(place / name) + '.jsonl')}" for name in KEPT]


def _measured(recipe: Path, changes: list[str], out: Path) -> float:
    """Bytes of the run's peak of resident memory."""
    settings = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "truing", "run", str(recipe), "--out", str(out), *settings]
    with open(os.devnull, "w") as silence:
        process = subprocess.Popen(command, stdout=silence, stderr=silence)
        _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"{' '.join(command)} ended with {status}"
    return used.ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
