"""The guard held against the truth: two worlds whose true reward is known, several seeds, hacked and honest rewards.

    python benchmarks/guard/run.py [--cache DIR] [--seeds 17 18 ...] [--cases beta-0 ...] [--page-only]

Makes the runs that are not in the cache yet, each on one thread, and writes docs/results/guard.md and guard.svg from
those that are there.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from guard.page import parts  # noqa: E402
from guard.picture import draw  # noqa: E402
from guard.runs import CASES, WORLDS, gather, make_all  # noqa: E402
from harness.environments import default_cache  # noqa: E402
from harness.tables import write  # noqa: E402

PAGE = ROOT / "docs" / "results" / "guard.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=default_cache() / "guard", help="runs (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(17, 25))
    parser.add_argument("--worlds", nargs="+", default=[world.name for world in WORLDS])
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--page", type=Path, default=PAGE, help="where the results go (%(default)s)")
    parser.add_argument("--page-only", action="store_true", help="make no run")
    told = parser.parse_args()
    torch.set_num_threads(1)
    cache = told.cache.resolve()
    if not told.page_only:
        worlds = [world for world in WORLDS if world.name in told.worlds]
        make_all(cache, told.seeds, worlds, [case for case in CASES if case.name in told.cases])
    picture = told.page.with_suffix(".svg")
    runs = gather(cache, told.seeds)
    write(told.page, *parts(runs, picture.name))
    draw(runs, picture)


if __name__ == "__main__":
    main()
