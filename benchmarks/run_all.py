"""Every benchmark that a machine alone can answer, in small sizes, and a line for each of its targets.

    python benchmarks/run_all.py [--only startup rollout] [--cache DIR]

Pages and logs go to the cache: those in docs/results are of the sizes that each script has by default. What has a side
of another library installs that on its first run, 1.5 GB for each of two releases of TRL; what has a model of 135M
wants the one that examples/movies/prepare.py makes. A script that cannot run says so, and the rest go on.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.environments import default_cache
from harness.machine import processor
from harness.tables import MISSED, REACHED

HERE = Path(__file__).resolve().parent
ONE_ROUND = "--rounds 1"
SIZES = {
    "startup": "--rounds 3",
    "encoding": "",
    "saving": "",
    "labelling": "--people 20 --votes 40 --kills 2 --pause 0.5",
    "processes": ONE_ROUND,
    "scale": "--doublings 1",
    "ppo": f"{ONE_ROUND} --episodes 8",
    "rollout": f"{ONE_ROUND} --batches 1 8 32 --new-tokens 16",
    "ragged": f"{ONE_ROUND} --episodes 4 --longest 64",
    "offline": f"{ONE_ROUND} --rows 8",
}
"""What each script is told, the quickest first"""
WITH_PAGE = ("startup", "scale", "ppo", "rollout", "ragged", "offline")


def command(name: str, cache: Path) -> list[str]:
    """How a script is called: its sizes, and a page of its own where it writes one."""
    page = ["--page", str(cache / "run_all" / f"{name}.md")] if name in WITH_PAGE else []
    return [sys.executable, str(HERE / name / "run.py"), *SIZES[name].split(), *page]


def verdicts(printed: str) -> Iterator[str]:
    """Lines that say whether a target was reached."""
    return (line for line in printed.splitlines() if line.startswith((f"{REACHED}: ", f"{MISSED}: ")))


def run(name: str, cache: Path) -> bool:
    """Runs a script, and prints its seconds and verdicts. Returns whether it came to any."""
    begun = time.perf_counter()
    done = subprocess.run(command(name, cache), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = cache / "run_all" / f"{name}.log"
    log.write_text(done.stdout, encoding="utf-8")
    found = [*verdicts(done.stdout)]
    told = f"{name}, {time.perf_counter() - begun:.0f} s"
    print(told if found else f"{told}: failed, see {log}", *(f"  {line}" for line in found), sep="\n", flush=True)
    return bool(found)


def main() -> int:
    """Runs them one after another; 1 where one failed. A missed target is a result."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--only", nargs="+", choices=list(SIZES), default=list(SIZES), help="benchmarks to run")
    asked.add_argument("--cache", type=Path, default=default_cache(), help="logs and pages (%(default)s)")
    told = asked.parse_args()
    (told.cache / "run_all").mkdir(parents=True, exist_ok=True)
    print(processor(), flush=True)
    failed = [name for name in told.only if not run(name, told.cache)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
