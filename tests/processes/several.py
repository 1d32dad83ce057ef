"""Runs in several processes, each with a log of what was said beside its directory."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import letters
import pytest
import tiny
from faults.killed import SHORT
from forked import BARE, Forked, zygote
from forked import has_ended as is_gone

from truing.config.sections import Source
from truing.runs.metrics import read_jsonl

ROUNDING = 1e-5
SOON = 120.0
"""Seconds in which everything has ended, on a machine that is busy too"""
Launcher = Forked | subprocess.Popen[bytes]

MANY_UPDATES = {
    "stages": ["sft", "ppo"],
    "rewards.sources": [{"kind": "function", "path": f"{letters.__file__}:letter_a"}],
    "ppo.updates": 14,
    "ppo.epochs": 1,
    "ppo.minibatches": 1,
    "rollout.max_new_tokens": 4,
    "evaluation.every": 7,
    "checkpoints.every_steps": 1,
}
"""For a run that is ended in PPO several times: many short updates, each of which is saved"""

REWARD = "def score(prompts, responses):\n    return [float(sum(map(ord, response))) for response in responses]\n"
REWARD_OF_ROWS = """
def score(prompts, responses, answer):
    assert answer == [prompt[::-1] for prompt in prompts]
    return [float(sum(map(ord, response))) for response in responses]
"""


def sft_and_ppo(place: Path, updates: int) -> Path:
    """The file of a recipe whose run learns from a function that knows the row, and saves each step."""
    (place / "own.py").write_text(REWARD_OF_ROWS)
    rows = [{"prompt": row["prompt"], "answer": row["prompt"][::-1]} for row in tiny.demonstrations()]
    prompts = Source(path=str(tiny.write_rows(place / "asked.jsonl", rows)))
    reward = {"kind": "function", "path": f"{place / 'own.py'}:score"}
    changes = SHORT | {"stages": ["sft", "ppo"], "ppo.updates": updates, "checkpoints.every_steps": 1}
    changes |= {"data.prompts": prompts.model_dump(), "rewards.sources": [reward]}
    return tiny.recipe_file(place / "made", **changes)


def start(
    recipe: Path,
    out: Path,
    processes: int,
    *options: str,
    without: Sequence[str] = BARE,
    ignored: Sequence[int] = (),
) -> Forked:
    """`truing run`, what it says in a file beside `out`.

    Launcher and ranks are forked from a process that has imported everything, which is half of a launch. Half of the
    rest are the rehearsal, in which the first works and the others wait, and the report.
    """
    return zygote().start(_arguments(recipe, out, processes, options), _log(out), without=without, ignored=ignored)


def in_ranks(script: str, place: Path, processes: int, *arguments: str) -> str:
    """What processes of a group print that run a script, each knowing its rank as `torchrun` tells it."""
    file, printed, told = (place / f"script.{kind}" for kind in ("py", "out", "err"))
    file.write_text(script)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    going = [
        zygote().start(
            [*arguments],
            printed,
            environment={name: str(value) for name, value in {**world, "RANK": rank, "LOCAL_RANK": rank}.items()},
            errors=told,
            script=file,
        )
        for rank in range(processes)
    ]
    assert [one.wait(SOON) for one in going] == [0] * processes, told.read_text()
    return printed.read_text()


def start_anew(recipe: Path, out: Path, processes: int, *options: str) -> "subprocess.Popen[bytes]":
    """The same by a command line, each process a Python of its own."""
    command = [sys.executable, "-m", "truing", *_arguments(recipe, out, processes, options)]
    with _log(out).open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def _arguments(recipe: Path, out: Path, processes: int, options: Sequence[str]) -> list[str]:
    return ["run", str(recipe), "--out", str(out), "--processes", str(processes), *options]


def _log(out: Path) -> Path:
    return out.with_suffix(".log")


def said(out: Path) -> str:
    """All that was said so far."""
    return _log(out).read_text()


def ranks(launcher: Launcher) -> list[int]:
    """The processes that it has started, by their rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return [int(child) for child in children]


def workers(out: Path) -> list[int]:
    """Processes of the run in `out` that agents have started, whatever started these."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if str(out).encode() in words and b"truing" in words and not any(b"rdzv" in word for word in words):
            found.append(int(command.parent.name))
    return sorted(found)


def wait_for_lines(metrics: Path, lines: int, launcher: Launcher, seconds: float = 240) -> None:
    """Until a stage has logged so many steps."""
    end = time.monotonic() + seconds
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < lines:
        assert launcher.poll() is None, "it has ended before"
        assert time.monotonic() < end
        time.sleep(0.02)


def kill(process: int, number: int = signal.SIGKILL) -> None:
    os.kill(process, number)


def assert_same_steps(ours: Path, theirs: Path, rounding: float = ROUNDING) -> None:
    """That a stage has logged the same in two runs, to rounding, but for the time it took."""
    found, expected = (read_jsonl(stage / "metrics.jsonl") for stage in (ours, theirs))
    assert [row["step"] for row in found] == [row["step"] for row in expected], ours
    for row, other in zip(found, expected, strict=True):
        assert row.keys() == other.keys(), ours
        for name, value in other.items():
            undecided = name == "accuracy" and abs(other.get("margin", 1.0)) < rounding  # the sign of nothing
            if not (name.endswith("_s") or undecided):
                assert row[name] == pytest.approx(value, abs=rounding, rel=rounding), (
                    ours,
                    row["step"],
                    name,
                    row[name],
                )


def assert_same_responses(ours: Path, theirs: Path) -> None:
    """That the samples of a stage say the same in two runs."""
    found, expected = (read_jsonl(stage / "samples.jsonl") for stage in (ours, theirs))
    assert [row["response"] for row in found] == [row["response"] for row in expected], ours


def assert_that_one_hears_while_the_other_hangs(recipe: Path, out: Path) -> None:
    """That the owner of a run, waiting for a process that hangs, ends as it is asked to."""
    going = start(recipe, out, 2)
    wait_for_lines(out / "sft" / "metrics.jsonl", 2, going)
    owner, hanging = ranks(going)
    kill(hanging, signal.SIGSTOP)
    going.send_signal(signal.SIGTERM)
    began = time.monotonic()
    while not is_gone(owner):
        assert time.monotonic() < began + SOON
        time.sleep(0.1)
    kill(hanging)
    assert going.wait(SOON) != 0
