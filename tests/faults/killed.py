"""Runs in processes of their own, so that they can be killed, and what they leave behind."""

import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from forked import BARE, Death, has_ended, zygote

from truing.config.stages import STAGES as REGISTRY
from truing.runs.metrics import read_jsonl

EVERY = [*REGISTRY]
STAGES = ["sft", "reward", "ppo", "dpo", "kto"]
"""A stage of each kind, for what takes long with each"""
_ON_OWN_RESPONSES = {
    "updates": 3,
    "kl": {"beta": 0.5, "controller": "adaptive", "target": 1e-3, "horizon": 16.0},
}
SHORT = {
    "stages": STAGES,
    "reward.epochs": 1,
    "evaluation.every": 2,
    **{
        f"{spec.name}.{key}": value
        for spec in REGISTRY.values()
        if spec.makes_policy
        for key, value in (_ON_OWN_RESPONSES if spec.must_be_scored else {"batch_size": 8}).items()
    },
    "kto.batch_size": 16,
}
"""Three steps of each stage, and twice three for SFT, whose second epoch begins in the middle"""


class Runs:
    """`truing run` as often as one likes, in a hurry: one run after another."""

    def start(
        self,
        recipe: Path,
        out: Path,
        die: Death | None = None,
        number: int = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> int:
        """The number of the process that runs; it may send itself a signal."""
        arguments, log = ["run", str(recipe), "--out", str(out), *options], out.with_suffix(".log")
        self._going = zygote().start(arguments, log, die, number, environment, hurried=True, without=BARE)
        return self._going.pid

    def end(self, *early: int) -> bool:
        """Waits for it; whether it ended with one of the codes `early`. It may not end in another way than well."""
        code = self._going.wait()
        assert code in (0, *early), f"it ended with {code}"
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


def running_stage(out: Path) -> str:
    """The stage in which a run was killed, or 'between'."""
    record = json.loads((out / "run.json").read_text()) if (out / "run.json").exists() else {"stages": []}
    return next((stage["name"] for stage in record["stages"] if stage["state"] == "running"), "between")


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
        if not file.is_file() or name.parts[0] in (".lock", "run.json", "report.html", "report.json"):
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
