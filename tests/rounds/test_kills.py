"""Rounds that are killed and stopped again and again, until they are done."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from forked import zygote
from rounds.test_rounds import SMALL, kept

KILLS = 12
OPTIONS = ["--rounds", "2", "--labels-per-round", "10", "--patience", "3"]


def go(out: Path, number: int | None = None, after: float = 0.0) -> int:
    """`truing round`, which may be sent a signal so many seconds after it has its lock."""
    overrides = [word for one in SMALL for word in ("--set", one)]
    begun = zygote().start(
        ["round", "--simulated", *OPTIONS, *overrides, "--out", str(out)], out.with_suffix(".log"), hurried=True
    )
    if number is not None:
        time.sleep(after)
        begun.send_signal(number)
    return begun.wait()


def figures(out: Path) -> Any:
    return json.loads((out / "rounds.json").read_text())


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert go(tmp_path / "undisturbed") == 0
    seconds = time.monotonic() - begun
    out, draws, killed = tmp_path / "disturbed", random.Random(7), 0
    for number in [signal.SIGKILL, signal.SIGTERM] * (KILLS // 2):
        code = go(out, number, draws.uniform(0.0, seconds / 3))
        assert code in (0, -number, 128 + number), out.with_suffix(".log").read_text()
        killed += code != 0
    assert killed > 3
    assert go(out) == 0
    assert kept(out) == kept(tmp_path / "undisturbed")
