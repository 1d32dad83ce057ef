"""Runs in processes of their own, so that they can be killed, and what they leave behind."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from truing.runs.metrics import read_jsonl

STAGES = ["sft", "reward", "ppo", "dpo"]
SHORT = {
    "stages": STAGES,
    "reward.epochs": 1,
    "ppo.updates": 3,
    "evaluation.every": 2,
    "ppo.kl": {"beta": 0.5, "controller": "adaptive", "target": 1e-3, "horizon": 16.0},
    "dpo.batch_size": 8,
}
"""Every stage, three steps each, and twice three for SFT, whose second epoch begins in the middle"""

Death = tuple[str, str, str, int]
"""before or after, a module, a function of it, the how-manieth call"""


class Runs:
    """`truing run` as often as one likes: each in a process of its own, forked from one that has imported all."""

    def __enter__(self) -> Self:
        """Starts the process that forks."""
        command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        self._zygote = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Ends it."""
        self._zygote.communicate()

    def start(
        self,
        recipe: Path,
        out: Path,
        die: Death | None = None,
        number: int = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """The number of the process that runs; it may send itself a signal."""
        assert self._zygote.stdin is not None
        arguments = ["run", str(recipe), "--out", str(out)]
        order = {"arguments": arguments, "die": die, "signal": number, "log": str(out.with_suffix(".log"))}
        order["environment"] = dict(environment or {})
        print(json.dumps(order), file=self._zygote.stdin, flush=True)
        return self._line()

    def end(self, *early: int) -> bool:
        """Waits for it; whether it ended with one of the codes `early`. It may not end in another way than well."""
        assert self._zygote.stdin is not None
        print(file=self._zygote.stdin, flush=True)
        code = self._line()
        assert code in (0, *early)
        return code != 0

    def dies(self, recipe: Path, out: Path, die: Death) -> bool:
        """A run that dies at a moment; whether it came there."""
        self.start(recipe, out, die)
        return self.end(-signal.SIGKILL)

    def stops(self, recipe: Path, out: Path, moment: Death, number: int) -> bool:
        """A run that is asked to stop at a moment and has no time to finish; whether it came there."""
        self.start(recipe, out, moment, number)
        return self.end(128 + number)

    def dies_by_the_clock(
        self, recipe: Path, out: Path, lines: int, seconds: float, number: int = signal.SIGKILL
    ) -> bool:
        """A run that gets a signal so long after its logs have so many lines more than before; whether it still ran."""
        goal = logged(out) + lines
        process = self.start(recipe, out)
        while logged(out) < goal and not has_ended(process):
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(process, number)
        return self.end(-number, 128 + number)

    def _line(self) -> int:
        assert self._zygote.stdout is not None
        return int(self._zygote.stdout.readline())


def running_stage(out: Path) -> str:
    """The stage in which a run was killed, or 'between'."""
    record = json.loads((out / "run.json").read_text()) if (out / "run.json").exists() else {"stages": []}
    return next((stage["name"] for stage in record["stages"] if stage["state"] == "running"), "between")


def has_ended(process: int) -> bool:
    """Whether a process is gone, or dead and not waited for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def logged(out: Path) -> int:
    """Lines of metrics in all stages so far; the run may begin one anew while they are counted."""
    lines = 0
    for file in out.glob("*/metrics.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            lines += file.read_bytes().count(b"\n")
    return lines


def left_behind(out: Path) -> dict[str, str]:
    """SHA-256 of every file that a run is judged by; metrics and results without timings, text without its place."""
    files = {}
    for file in sorted(out.rglob("*")):
        name = file.relative_to(out)
        if not file.is_file() or name.parts[0] in (".lock", "run.json", "report.html"):
            continue
        if file.name == "metrics.jsonl":
            content = json.dumps([_timeless(row) for row in read_jsonl(file)]).encode()
        elif file.name == "result.json":
            content = json.dumps(_timeless(json.loads(file.read_text()))).encode()
        else:
            content = file.read_bytes().replace(str(out).encode(), b"RUN")
        files[str(name)] = hashlib.sha256(content).hexdigest()
    return files


def _timeless(row: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if not key.endswith("_s") and key != "seconds"}
