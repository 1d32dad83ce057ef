"""Runs a recipe and says what each of its phases held and took.

    python benchmarks/doctor/watched.py memory|time OUT RECIPE [KEY=VALUE ...]

Prints one JSON object, "stage phase" to bytes of resident memory at the phase's peak, or to seconds of each of its
steps. Where memory is measured, what a phase freed goes back to the system before another begins; that takes time, so
times are taken without, and so is `peak`, that of the whole run.
"""

import json
import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from truing.config import load_recipe
from truing.pipeline.execute import execute as pipeline
from truing.rewards.sources import RoleReward
from truing.rollout import episodes
from truing.runs.memory import release_memory
from truing.runs.progress import SilentProgress
from truing.stages import ppo
from truing.training.journal import Journal
from truing.training.learner import Learner

PARTS: dict[str, list[tuple[Any, str]]] = {
    "rollout": [(episodes, "sample")],
    "score": [(ppo, "score_rollout"), (RoleReward, "score")],
    "learn": [(Learner, "forward_backward"), (Learner, "step")],
    "checkpoint": [(Journal, "_save")],
}
"""The functions of each phase"""


class Watch:
    """What was seen, by stage and phase."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._stage, self._phase = "", ""

    def stage(self, name: str, train: Callable[..., Any], *given: Any) -> Any:
        """Runs a stage, and what follows is its."""
        self._stage = name
        return train(*given)

    def memory(self, phase: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Runs a part of a phase and keeps its peak of resident memory."""
        key = f"{self._stage} {phase}"
        if key != self._phase:
            release_memory()
            self._phase = key
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        try:
            return call(*given, **named)
        finally:
            told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
            assert told is not None
            self.bytes[key] = max(self.bytes[key], 1024 * int(told[1]))

    def time(self, phase: str, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Runs a step and keeps how long it took."""
        start = time.perf_counter()
        out = call(*given, **named)
        self.seconds[f"{self._stage} {phase}"].append(time.perf_counter() - start)
        return out

    def update(self, call: Callable[..., Any], *given: Any) -> Any:
        """Runs an update of PPO, which times its phases itself."""
        figures = call(*given)
        for phase in ("rollout", "score", "learn"):
            self.seconds[f"ppo {phase}"].append(figures[f"{phase}_s"])
        return figures


def main() -> None:
    """Watches one run."""
    wanted, out, recipe, *changes = sys.argv[1:]
    watch = Watch()
    for name, train in pipeline.TRAIN.items():
        pipeline.TRAIN[name] = partial(watch.stage, name, train)
    if wanted == "memory":
        for phase, parts in PARTS.items():
            for place, name in parts:
                _wrap(place, name, partial(watch.memory, phase))
    else:
        _wrap(ppo, "ppo_update", watch.update)
        _wrap(Learner, "train_step", partial(watch.time, "learn"))
    pipeline.run_pipeline(load_recipe(Path(recipe), changes), Path(out), SilentProgress())
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(watch.bytes if wanted == "memory" else watch.seconds | {"peak": peak}))


def _wrap(place: Any, name: str, around: Callable[..., Any]) -> None:
    inner = getattr(place, name)
    setattr(place, name, lambda *given, **named: around(inner, *given, **named))


if __name__ == "__main__":
    main()
