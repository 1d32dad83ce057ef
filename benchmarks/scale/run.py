"""How time and memory of a PPO update grow as batch, length, vocabulary and model size double.

    python benchmarks/scale/run.py [--cache DIR] [--doublings 3] [--rounds 1]

Writes docs/results/performance-scale.md. Ours alone, on small random models that the script makes; `--model` is not
used. A process measures three updates, so one round is enough.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import counts, tables
from harness.options import Options, parser
from harness.sides import Measured, alternate
from harness.tables import Target, gigabytes, table
from ppo.sides import Work, sides, write

AXES = ("batch", "length", "vocabulary", "layers")
LAYOUT = "shared"
LIMIT = 1.2
INTRODUCTION = """
# How cost grows

One PPO update by truing (`shared`, adapters of rank 8 in all layers) on random Llama models of width 256, from a common
beginning in which one thing doubles at a time. Written by `python benchmarks/scale/run.py`.

Cost is seconds for each counted token where batch or length grows. Where the vocabulary or the number of layers grows,
a token itself costs more, so there it is seconds for each counted operation of the update
([what is counted](../performance.md)). On a straight line the cost stays as it is; it may fall, as what a step costs
whatever it does is shared by more. Memory is the most that the process had resident, loading included.
"""


@dataclass(frozen=True)
class Point:
    """One size of everything."""

    batch: int = 16
    length: int = 32
    vocabulary: int = 4096
    layers: int = 4

    @property
    def name(self) -> str:
        return f"{self.batch}-{self.length}-{self.vocabulary}-{self.layers}"


def points(axis: str, doublings: int) -> list[Point]:
    """The beginning, and the axis doubled so many times."""
    start = Point()
    return [replace(start, **{axis: getattr(start, axis) * 2**n}) for n in range(doublings + 1)]


def measure(point: Point, choices: Options) -> tuple[Work, Measured]:
    """One process, or one a round."""
    scratch = choices.scratch(f"scale-{point.name}")
    shape = {"hidden": 256, "layers": point.layers, "vocabulary": point.vocabulary}
    write(scratch, choices, write="llama", place=str(scratch / "llama"), shape=shape)
    work = Work(scratch / "llama", 16, (point.length,) * point.batch, epochs=2, minibatches=2, repeats=3)
    return work, alternate(sides(work, [LAYOUT], scratch, choices), choices.rounds, scratch, choices.threads)[LAYOUT]


def cost(axis: str, work: Work, side: Measured) -> float:
    """Seconds for a counted token, or for a counted operation where tokens themselves grow dearer."""
    if axis in ("batch", "length"):
        return side.total / work.unit.new_tokens
    return side.total / counts.operations(work.phases(LAYOUT))


def rows(axis: str, doublings: int, found: Mapping[Point, tuple[Work, Measured]]) -> Iterator[list[object]]:
    """A row for each size, the cost relative to the first."""
    first = cost(axis, *found[Point()])
    for point in points(axis, doublings):
        work, side = found[point]
        operations = counts.operations(work.phases(LAYOUT)) / 1e9
        relative = cost(axis, work, side) / first
        yield [
            f"{axis} {getattr(point, axis):,}",
            work.unit.new_tokens,
            f"{operations:,.0f}",
            f"{side.total:.2f}",
            f"{relative:.2f}",
            gigabytes(side.peak),
        ]


def main() -> None:
    """Measure, print, write the page."""
    asked = parser(__doc__ or "", "performance-scale.md")
    asked.add_argument("--doublings", type=int, default=3, help="of each axis (%(default)s)")
    asked.set_defaults(rounds=1)
    told = asked.parse_args()
    choices = Options(told.cache.resolve(), told.model, told.rounds, told.threads, told.page)
    wanted = dict.fromkeys(point for axis in AXES for point in points(axis, told.doublings))
    found = {point: measure(point, choices) for point in wanted}
    lines = [row for axis in AXES for row in rows(axis, told.doublings, found)]
    last = {axis: points(axis, told.doublings)[-1] for axis in AXES}
    targets = [
        Target(
            f"{axis}: cost, largest over smallest",
            LIMIT,
            cost(axis, *found[last[axis]]) / cost(axis, *found[Point()]),
            True,
        )
        for axis in AXES
    ]
    head = ["", "counted tokens", "GFLOP", "update, s", "cost over the first", "peak, GB"]
    tables.write(choices.page, INTRODUCTION, table(head, lines), tables.targets(targets), choices.conditions)
    tables.tell(targets)


if __name__ == "__main__":
    main()
