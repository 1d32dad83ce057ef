"""Two or more sides that do the same work, each as a process of its own, in turns.

A side's script reads one JSON argument, warms up, does the work, and writes a JSON file (`child.report`): so neither
side's caches, threads or memory touch the other's, and a drift of the machine falls on all of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.environments import run_logged


@dataclass(frozen=True)
class Side:
    """What runs one side of a benchmark."""

    name: str
    """As the page calls it"""
    python: Path
    script: Path
    work: Mapping[str, Any]
    """What the script is told to do; JSON"""


@dataclass(frozen=True)
class Measured:
    """One side's figures over all its runs."""

    seconds: dict[str, list[float]]
    """Of each phase, one a repetition"""
    peaks: list[int]
    """Peak resident memory of each process, bytes"""
    facts: dict[str, Any]
    """What the side says of its work, so that equal work can be checked; of the first run"""

    def median(self, *phases: str) -> float:
        """Seconds of these phases together, the median over repetitions."""
        return median(map(sum, zip(*(self.seconds[phase] for phase in phases), strict=True)))

    @property
    def total(self) -> float:
        """Seconds of all phases, the median over repetitions."""
        return self.median(*self.seconds)

    @property
    def peak(self) -> float:
        """The median over processes, bytes."""
        return median(self.peaks)

    @property
    def spread(self) -> float:
        """Slowest over fastest repetition."""
        totals = [sum(parts) for parts in zip(*self.seconds.values(), strict=True)]
        return max(totals) / min(totals)


def alternate(sides: Sequence[Side], rounds: int, scratch: Path, threads: int) -> dict[str, Measured]:
    """Runs every side once a round; returns each one's figures by its name, and keeps them in `scratch`."""
    outcomes: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for turn in range(rounds):
        for number, side in enumerate(sides):
            outcome = run_side(side, scratch / f"side-{number}-{turn}", threads)
            outcomes[side.name].append(outcome)
            done = ", ".join(f"{name} {values[-1]:.2f}" for name, values in outcome["seconds"].items())
            print(f"[{turn + 1}/{rounds}] {side.name}: {done} s, {outcome['peak'] / 1e9:.2f} GB", flush=True)
    measured = {name: _joined(runs) for name, runs in outcomes.items()}
    (scratch / "measured.json").write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
    return measured


def run_side(side: Side, place: Path, threads: int) -> dict[str, Any]:
    """One process of a side, from start to end; what it reported."""
    out = place.with_suffix(".json")
    out.unlink(missing_ok=True)
    work = json.dumps({**side.work, "threads": threads, "out": str(out)})
    run_logged([side.python, side.script, work], place.with_suffix(".log"), threads)
    outcome: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return outcome


def _joined(runs: Iterable[Mapping[str, Any]]) -> Measured:
    runs = list(runs)
    phases = runs[0]["seconds"]
    return Measured(
        {phase: [value for run in runs for value in run["seconds"][phase]] for phase in phases},
        [run["peak"] for run in runs],
        runs[0]["facts"],
    )


def refuse_unequal(measured: Mapping[str, Measured]) -> None:
    """RuntimeError unless every side says the same of its work."""
    facts = {name: side.facts for name, side in measured.items()}
    if len({json.dumps(fact, sort_keys=True) for fact in facts.values()}) > 1:
        raise RuntimeError(f"the sides did not do the same work: {facts}")
