"""Runs in processes of their own, so that they can be killed, and what they leave behind."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

from truing.runs.metrics import read_jsonl

KILL_AT_SAVE = """
import os, signal, sys
from truing.runs import checkpoints
right, calls = checkpoints.save_checkpoint, [0]
def save(*args, **kwargs):
    right(*args, **kwargs)
    calls[0] += 1
    if calls[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
from truing.stages import journal
journal.save_checkpoint = save
sys.argv = ["truing", *sys.argv[2:]]
from truing.cli import main
main()
"""
"""Dies right after its n-th checkpoint"""


def run_to_the_end(recipe: Path, out: Path) -> None:
    done = subprocess.run([*_truing(), "run", str(recipe), "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_killed_after_save(recipe: Path, out: Path, save: int) -> None:
    """The run is killed (SIGKILL) after so many of its saves; nothing if it ends before."""
    command = [sys.executable, "-c", KILL_AT_SAVE, str(save), "run", str(recipe), "--out", str(out)]
    subprocess.run(command, capture_output=True, timeout=300)


def run_killed_after_lines(recipe: Path, out: Path, lines: int) -> bool:
    """The run is killed (SIGKILL) once its logs have so many lines more than before; whether it was still alive."""
    goal = _logged(out) + lines
    with subprocess.Popen(
        [*_truing(), "run", str(recipe), "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            if _logged(out) >= goal:
                process.kill()
                return True
            time.sleep(0.001)
    assert process.returncode == 0
    return False


def _logged(out: Path) -> int:
    """Lines of metrics in all stages so far."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("*/metrics.jsonl"))


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


def _truing() -> list[str]:
    return [sys.executable, "-m", "truing"]
