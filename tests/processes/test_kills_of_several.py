"""Two processes of which one is killed, as often as one likes, end as those that never were: the same bytes."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny
from faults.killed import SHORT, STAGES, Runs, has_ended, left_behind, logged, running_stage

from truing.processes.launch import free_port

pytestmark = pytest.mark.long

CHANGES = SHORT | {"checkpoints.every_steps": 1}
FULL = {"roles": "separate", "sft.method": "full"}
LAYOUTS: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "whole": ({"roles": "shared"}, "llama", ()),
    "sharded": (FULL | {"compute.shard": True}, "llama", ()),
    "cut": (FULL, f"llama{tiny.IN_GROUPS}", ("--tp", "2")),
}
"""What is changed of the recipe, the shape of the base, and how the run is started"""
ALONE_SECONDS, PATIENT_SECONDS = 3.0, 60.0
"""For the other to end by itself, as the launcher has it, and once it was asked to"""


class Pair:
    """Two processes that share a run, and what a launcher does for them."""

    def __init__(self, options: tuple[str, ...]) -> None:
        """`options` of the command that starts them."""
        self._both = (Runs(), Runs())
        self._options = options

    def start(self, recipe: Path, out: Path) -> list[int]:
        """The numbers of the two, by rank."""
        here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}
        shared = here | {"WORLD_SIZE": "2"}
        return [
            runs.start(
                recipe, out, environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, options=self._options
            )
            for rank, runs in enumerate(self._both)
        ]

    def end(self) -> bool:
        """Waits for both; whether one of them was ended early."""
        early = [runs.end(1, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM) for runs in self._both]
        return any(early)

    def is_killed(self, recipe: Path, out: Path, rank: int, lines: int, seconds: float) -> bool:
        """One dies so long after the logs have so many lines more than before; whether the run was ended by that."""
        goal, processes = logged(out) + lines, self.start(recipe, out)
        while logged(out) < goal and not has_ended(processes[rank]):
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(processes[rank], signal.SIGKILL)
        other = processes[1 - rank]
        if not _ends_within(ALONE_SECONDS, other):
            os.kill(other, signal.SIGTERM)
            assert _ends_within(PATIENT_SECONDS, other)
        return self.end()


def _ends_within(seconds: float, process: int) -> bool:
    end = time.monotonic() + seconds
    while not has_ended(process) and time.monotonic() < end:
        time.sleep(0.01)
    return has_ended(process)


FEW = ["sft", "reward", "ppo"]
CASES = [
    pytest.param("sharded", FEW, 1, id="sharded, few stages"),
    *(pytest.param(layout, STAGES, 10, id=layout, marks=pytest.mark.slow) for layout in LAYOUTS),
]


@pytest.mark.parametrize(("layout", "stages", "times"), CASES)
def test_killed_at_random_moments_they_end_as_if_they_had_not_been(
    layout: str, stages: list[str], times: int, tmp_path: Path
) -> None:
    """One run after another, until one of the two was killed often enough in each stage, whatever it was doing then."""
    changes, shape, options = LAYOUTS[layout]
    recipe, pair = tiny.recipe_file(tmp_path, shape=shape, **CHANGES | changes | {"stages": stages}), Pair(options)
    pair.start(recipe, tmp_path / "undisturbed")
    assert not pair.end()
    undisturbed = left_behind(tmp_path / "undisturbed")
    kills, moments, equal = Counter[str](), random.Random(17), 0
    while min(kills[stage] for stage in stages) < times:
        out = tmp_path / f"random-{equal}"
        while pair.is_killed(recipe, out, moments.randint(0, 1), moments.randint(0, 2), moments.uniform(0, 0.3)):
            kills[running_stage(out)] += 1
        assert left_behind(out) == undisturbed
        equal += 1
    print(f"\n{layout}: {dict(kills)} kills, {equal} runs, all equal")
