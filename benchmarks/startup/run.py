"""How long commands take that have nothing to learn, beside a Python that does nothing.

    python benchmarks/startup/run.py [--rounds 10]

Writes docs/results/performance-startup.md.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.options import parser
from harness.tables import table

from truing.config.sections import World
from truing.worlds.reviews import write_world

FAULTY = 2
"""Exit code of `validate` where the base has no weights"""
INTRODUCTION = """
# Start-up

Seconds of processor time, and from start to end, of the process; medians, warm. The recipes to validate have all stages
on the rows of the world of reviews, 'fetched later' on a Hub id of which nothing is on the machine, 'no weights' on a
directory with config and tokenizer. Written by `python benchmarks/startup/run.py`.
"""
WITHOUT_WEIGHTS = """
Where there is a config, `validate` holds rows, tokenizer and a reward stage's classifier against the model's
architecture, so transformers' modelling and torch are imported. They take nearly all of that time.
"""


def commands(place: Path) -> dict[str, tuple[list[str], float | None]]:
    """Arguments of Python, and the seconds of processor time that are wanted at most."""
    material = write_world(World(), 17, place)
    for weights in material.base.glob("*.safetensors"):
        weights.unlink()
    recipes = {"fetched later": "someone/model", "no weights": str(material.base)}
    for name, base in recipes.items():
        lines = (
            f"base: {{path: '{base}'}}",
            "data:",
            *(
                f"  {kind}: {{path: '{file}'}}"
                for kind, file in (
                    ("demonstrations", material.demonstrations),
                    ("preferences", material.preferences),
                )
            ),
        )
        (place / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found: dict[str, tuple[list[str], float | None]] = {"python -c pass": (["-c", "pass"], None)}
    for line in ("--help", "--version", "recipes"):
        found[f"truing {line}"] = (["-m", "truing", line], 0.3)
    for name in recipes:
        found[f"truing validate, {name}"] = (["-m", "truing", "validate", str(place / f"{name}.yaml")], 2.0)
    return found


def timed(arguments: list[str]) -> tuple[float, float]:
    """Seconds of processor time, and from start to end."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    done = subprocess.run([sys.executable, *arguments], **quiet, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode in (0, FAULTY), arguments
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def main() -> None:
    """Measure in turns, print, write the page."""
    asked = parser(__doc__ or "", "performance-startup.md")
    asked.set_defaults(rounds=10)
    told = asked.parse_args()
    with TemporaryDirectory() as place:
        wanted = commands(Path(place))
        for arguments, _ in wanted.values():
            timed(arguments)
        laps = [{name: timed(arguments) for name, (arguments, _) in wanted.items()} for _ in range(told.rounds)]
    rows = []
    for name, (_, limit) in wanted.items():
        busy, whole = (median(lap[name][part] for lap in laps) for part in (0, 1))
        verdict = ["", ""] if limit is None else [f"≤ {limit:g}", "yes" if busy <= limit else "**no**"]
        rows.append([f"`{name}`", f"{busy:.2f}", f"{whole:.2f}", *verdict])
    head = ["command", "processor, s", "whole, s", "wanted", "reached"]
    tables.write(told.page, INTRODUCTION, table(head, rows), WITHOUT_WEIGHTS)


if __name__ == "__main__":
    main()
