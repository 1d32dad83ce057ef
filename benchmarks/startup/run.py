"""How long commands take that have nothing to learn, beside a Python that does nothing.

    python benchmarks/startup/run.py [--rounds 10]

Writes docs/results/performance-startup.md.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.machine import processor
from harness.options import parser
from harness.smollm2 import CONFIG
from harness.tables import Target, table
from transformers import LlamaConfig, LlamaForCausalLM

from truing.config.sections import World
from truing.worlds.reviews import write_world

FAULTY = 2
"""Exit code of `validate` where the base has no weights"""
REHEARSAL, LIMIT_S = re.compile(r"Rehearsed in ([0-9.]+) s"), 5.0
INTRODUCTION = """
# Start-up

Seconds of processor time, and from start to end, of the process; medians, warm. The recipes to validate have all stages
on the rows of the world of reviews, 'fetched later' on a Hub id of which nothing is on the machine, 'no weights' on a
directory with config and tokenizer, 'all of it' on random weights in the shape of SmolLM2-135M, with the world's
tokenizer. Written by `python benchmarks/startup/run.py`.
"""
WITH_WEIGHTS = """
Only where there are weights, `validate` holds rows, tokenizer and a reward stage's classifier against the model's
architecture, and rehearses every stage, for which torch and transformers' modelling are imported. The rehearsal itself,
as it prints: {seconds}; wanted: at most {limit:g} s, {reached}.
"""


def commands(place: Path) -> dict[str, tuple[list[str], float | None]]:
    """Arguments of Python, and the seconds of processor time that are wanted at most."""
    material = write_world(World(), 17, place)
    shutil.copytree(material.base, place / "large")
    for weights in material.base.glob("*.safetensors"):
        weights.unlink()
    LlamaForCausalLM(LlamaConfig(**CONFIG)).save_pretrained(place / "large")
    recipes = {"fetched later": "someone/model", "no weights": str(material.base), "all of it": str(place / "large")}
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
        limit = None if name == "all of it" else 2.0
        found[f"truing validate, {name}"] = (["-m", "truing", "validate", str(place / f"{name}.yaml")], limit)
    return found


@dataclass(frozen=True)
class Lap:
    """A command that was run once."""

    busy: float
    """Seconds of processor time"""
    whole: float
    """Seconds from start to end"""
    rehearsal: float | None
    """Seconds, as it was printed"""


def timed(arguments: list[str]) -> Lap:
    """Runs Python with these arguments."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    given = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=given)
    assert done.returncode in (0, FAULTY), (arguments, done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = REHEARSAL.search(done.stdout)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Lap(busy, time.perf_counter() - start, float(told[1]) if told else None)


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
    rows, targets = [], []
    for name, (_, limit) in wanted.items():
        busy, whole = median(lap[name].busy for lap in laps), median(lap[name].whole for lap in laps)
        verdict = ["", ""]
        if limit is not None:
            targets.append(Target(f"{name}, of the processor", limit, busy, at_most=True, unit=" s"))
            verdict = [f"≤ {limit:g}", "yes" if targets[-1].reached else "**no**"]
        rows.append([f"`{name}`", f"{busy:.2f}", f"{whole:.2f}", *verdict])
    head = ["command", "processor, s", "whole, s", "wanted", "reached"]
    rehearsals = sorted(lap.rehearsal for turn in laps for lap in turn.values() if lap.rehearsal is not None)
    seconds = f"{median(rehearsals):.1f} s, from {rehearsals[0]:.1f} to {rehearsals[-1]:.1f}"
    reached = "reached" if median(rehearsals) <= LIMIT_S else "**missed**"
    tables.write(
        told.page,
        INTRODUCTION,
        table(head, rows),
        WITH_WEIGHTS.format(seconds=seconds, limit=LIMIT_S, reached=reached),
        f"Measured on {processor()}.",
    )
    tables.tell([*targets, Target("rehearsal of a base of 135M", LIMIT_S, median(rehearsals), at_most=True, unit=" s")])


if __name__ == "__main__":
    main()
