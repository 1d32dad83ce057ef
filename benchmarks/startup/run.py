"""How long `truing --help` takes, beside a Python that does nothing.

    python benchmarks/startup/run.py [--rounds 10]

Writes docs/results/performance-startup.md.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.options import parser
from harness.tables import table

COMMANDS = {"python -c pass": ["-c", "pass"], "truing --help": ["-m", "truing", "--help"]}
LIMIT = 0.5
INTRODUCTION = """
# Start-up

Seconds from start to end of the process, warm. Written by `python benchmarks/startup/run.py`.
"""


def timed(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turns, print, write the page."""
    asked = parser(__doc__ or "", "performance-startup.md")
    asked.set_defaults(rounds=10)
    told = asked.parse_args()
    for arguments in COMMANDS.values():
        timed(arguments)
    laps = [{name: timed(arguments) for name, arguments in COMMANDS.items()} for _ in range(told.rounds)]
    seconds = {name: [lap[name] for lap in laps] for name in COMMANDS}
    rows = [[f"`{name}`", f"{median(found):.3f}", f"{max(found):.3f}"] for name, found in seconds.items()]
    reached = median(seconds["truing --help"]) <= LIMIT
    verdict = f"Wanted: `truing --help` in at most {LIMIT} s. {'Reached' if reached else '**Not reached**'}."
    tables.write(told.page, INTRODUCTION, table(["command", "median, s", "slowest, s"], rows), verdict)


if __name__ == "__main__":
    main()
