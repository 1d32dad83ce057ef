"""Runs a recipe and says what each of its stages took.

    python benchmarks/estimate/watched.py OUT RECIPE [KEY=VALUE ...]

Prints one JSON object: stage to [bytes of resident memory at its peak, seconds of each step after the first].
"""

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from truing.config import load_recipe
from truing.pipeline import execute
from truing.runs.progress import SilentProgress

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Laps(SilentProgress):
    """Keeps when each step of a stage was done."""

    def __init__(self) -> None:
        self.times: dict[int, float] = {}

    def advance(self, step: int, figures: Mapping[str, float]) -> None:
        """Called as soon as a step is done."""
        self.times[step] = time.perf_counter()

    @property
    def seconds(self) -> list[float]:
        """Of each step but the first, which meets its memory for the first time."""
        return [self.times[step] - self.times[step - 1] for step in self.times if step >= 2]


def main() -> None:
    """Watches one run."""
    out, recipe, *changes = sys.argv[1:]
    seen: dict[str, tuple[int, list[float]]] = {}
    run_stage = execute.run_stage

    def watched(stage: Any, run: Any, prepared: Any, _: Any, *given: Any) -> None:
        CLEAR.write_text("5", encoding="ascii")  # the peak begins anew
        laps = Laps()
        run_stage(stage, run, prepared, laps, *given)
        told = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
        assert told is not None
        seen[stage.name] = 1024 * int(told[1]), laps.seconds

    execute.run_stage = watched
    execute.run_pipeline(load_recipe(Path(recipe), changes), Path(out), SilentProgress())
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
