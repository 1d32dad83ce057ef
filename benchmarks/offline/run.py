"""Optimiser steps of SFT, the reward model and DPO on real text of mixed length, by truing and by TRL 1.16.

    python benchmarks/offline/run.py [--cache DIR] [--model DIR] [--data DIR] [--only sft reward dpo] [--rounds 3]

Writes docs/results/performance-offline.md. The rows are those that examples/movies/prepare.py makes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.environments import environment
from harness.options import Options, options, parser
from harness.sides import Measured, Side, alternate, refuse_unequal
from harness.tables import Target, gigabytes, table
from offline.rows import demonstrations, pairs

HERE = Path(__file__).resolve().parent
RANK = 8
INTRODUCTION = """
# SFT, reward model and DPO, side by side with TRL

The same optimiser steps on the same rows by truing and by TRL 1.16. Written by `python benchmarks/offline/run.py`.

Rows are movie reviews, one, two or four of them joined, so that lengths differ; float32 on the CPU, adapters of rank 8
on every linear layer, no dropout. The run is refused where the two sides do not see the same number of tokens in every
step. Each side is a process of its own whose first step is not measured. Memory is the most that the process had
resident, loading included.

TRL has its default of 8 rows or pairs in a micro-batch, its rows in the order given (its default is a random order),
and gradient checkpointing off: by default it is on, which is slower and takes less memory. Ours plans micro-batches by
tokens. The pass over the reference belongs to a step of DPO on both sides.
"""


def sides(stage: str, data: Path, rows: int, steps: int, choices: Options) -> list[Side]:
    """Ours and TRL's, of a stage."""
    batch = rows if stage == "sft" else rows // 2  # a pair is two sequences
    texts = (demonstrations if stage == "sft" else pairs)(data, batch * (steps + 1))
    told = {"stage": stage, "model": str(choices.model), "rows": texts, "batch": batch, "steps": steps, "rank": RANK}
    return [
        Side("truing", Path(sys.executable), HERE / "ours.py", told),
        Side("TRL 1.16", environment("trl-1.16", choices.cache), HERE / "peer.py", told),
    ]


def wanted(stage: str, measured: dict[str, Measured]) -> list[Target]:
    """What was to be reached."""
    ours, theirs = measured["truing"], measured["TRL 1.16"]
    return [
        Target(f"{stage}: times as fast as TRL", 1.5, theirs.total / ours.total),
        Target(f"{stage}: memory over TRL's", 0.6, ours.peak / theirs.peak, at_most=True),
    ]


def main() -> None:
    """Measure, print, write the page."""
    asked = parser(__doc__ or "", "performance-offline.md")
    stages = ("sft", "reward", "dpo")
    asked.add_argument("--data", type=Path, help="the rows' directory (that of the model)")
    asked.add_argument("--only", nargs="+", choices=stages, default=stages, help="stages to run")
    asked.add_argument("--rows", type=int, default=16, help="sequences of an optimiser step (%(default)s)")
    asked.add_argument("--steps", type=int, default=1, help="measured steps of a process (%(default)s)")
    told = asked.parse_args()
    choices, rows, targets = options(told), [], []
    for stage in told.only:
        run = sides(stage, told.data or choices.model.parent, told.rows, told.steps, choices)
        measured = alternate(run, choices.rounds, choices.scratch(f"offline-{stage}"), choices.threads)
        refuse_unequal(measured)
        for name, side in measured.items():
            tokens = sum(side.facts["tokens"][1:])
            rate = f"{tokens / side.total:.0f}"
            rows.append(
                [f"{stage}, {name}", tokens, f"{side.total:.2f}", rate, f"{side.spread:.2f}", gigabytes(side.peak)]
            )
        targets += wanted(stage, measured)
    head = ["", "tokens", "seconds", "tokens/s", "slowest/fastest", "peak, GB"]
    tables.write(choices.page, INTRODUCTION, table(head, rows), tables.targets(targets), choices.conditions)
    tables.tell(targets)


if __name__ == "__main__":
    main()
