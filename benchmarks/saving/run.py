"""What saving costs: the share of quickstart's wall time that checkpoints and models take, fsync and hashes included.

    python benchmarks/saving/run.py [--out DIRECTORY]

Runs the shipped recipe as it is, and again with a checkpoint after every fifth step, and prints a table of
its stages for each; docs/reliability.md has their sums. Exits with 1 where the limit is missed. Some minutes on one
core.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.tables import Target, tell

from truing.runs.directory import RunDirectory
from truing.runs.files import read_json

LIMIT = 0.03
SETTINGS = {
    "as shipped (a checkpoint every 5 minutes)": [],
    "a checkpoint every 5 steps": ["--set", "checkpoints.every_steps=5"],
}


def run(out: Path, overrides: list[str]) -> list[tuple[str, float, float]]:
    """Name, seconds and seconds of saving of each stage of quickstart."""
    command = [sys.executable, "-m", "truing", "run", "quickstart", "--out", str(out), *overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    directory = RunDirectory(out)
    results = {stage.name: read_json(directory.stage(stage.name).result) for stage in directory.lineage.stages}
    return [(stage.name, stage.seconds or 0.0, results[stage.name]["saving_s"]) for stage in directory.lineage.stages]


def main() -> int:
    """Measure, print; 1 where the recipe as it is shipped misses the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="where the runs go; without it, away afterwards")
    given: Path | None = parser.parse_args().out
    shares: list[float] = []
    with tempfile.TemporaryDirectory() as away:
        for number, (name, overrides) in enumerate(SETTINGS.items()):
            rows = run((given or Path(away)) / f"run-{number}", overrides)
            seconds, saving = (sum(row[column] for row in rows) for column in (1, 2))
            print(f"\n{name}\n\n| stage | seconds | of them saving | share |\n|---|---|---|---|")
            for stage, took, saved in [*rows, ("all", seconds, saving)]:
                print(f"| {stage} | {took:.1f} | {saved:.2f} | {saved / took:.2%} |")
            shares.append(saving / seconds)
    print()
    target = Target("saving, as shipped, of the run's time", 100 * LIMIT, 100 * shares[0], at_most=True, unit="%")
    tell([target])
    return 0 if target.reached else 1


if __name__ == "__main__":
    sys.exit(main())
