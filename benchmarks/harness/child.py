"""What a side's script needs beside its library. The standard library alone, since peers import it too."""

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def work() -> dict[str, Any]:
    """What the script was told to do; its threads are set."""
    import torch

    told: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    return told


def report(told: Mapping[str, Any], seconds: Mapping[str, Sequence[float]], **facts: Any) -> None:
    """Writes what was measured: the seconds of each phase, one a repetition, and the process's peak memory."""
    outcome = {"seconds": seconds, "peak": peak_bytes(), "facts": facts}
    Path(told["out"]).write_text(json.dumps(outcome), encoding="utf-8")


def peak_bytes() -> int:
    """The most memory that this process has had resident.

    `ru_maxrss` begins with the peak of the parent, so Linux's own figure of this process is taken where there is one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Stopwatch:
    """Seconds between marks, kept by name, one list entry a repetition."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._last = time.perf_counter()

    def start(self) -> None:
        """What follows is measured."""
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What was since the start or the last lap belongs to this phase."""
        now = time.perf_counter()
        self.note(name, now - self._last)
        self._last = now

    def note(self, name: str, seconds: float) -> None:
        """A phase that somebody else measured."""
        self.seconds.setdefault(name, []).append(seconds)
