"""A run on two machines, whose link is slow or parted, and one of which dies.

Each machine has an agent of `torchrun`, as examples/clusters starts them.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.killed import left_behind
from processes.machines import DEVICE, Link, Machine, two_machines, why_not
from processes.several import SOON, said, sft_and_ppo, start, wait_for_lines, workers

from truing.processes.connections import UNREACHABLE_SECONDS

NO_MACHINES = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NO_MACHINES is not None, reason=str(NO_MACHINES))]
Machines = tuple[Machine, Machine, Link]

MEETS = """
import sys, time
from datetime import timedelta
from truing.processes import connections, meeting, peers

connections.UNREACHABLE_SECONDS, connections.ASK_SECONDS = 4, 1
meeting.CONNECTING = timedelta(seconds=2)
rank = int(sys.argv[1])
try:
    met = peers.Peers.met(rank, 2)
    met.all_gather("here")
    print("met", flush=True)
    if rank == 0:
        sys.stdin.read()
    met.all_gather("still here")
except BaseException as error:
    print(getattr(error, "untold", None) or error, flush=True)
"""
"""A process of two, of which the first is busy until its input ends, while the second waits for it"""


@pytest.fixture
def machines() -> Iterator[Machines]:
    with two_machines() as made:
        yield made


def _meet(machines: Machines, **variables: str) -> "list[subprocess.Popen[str]]":
    given = {"MASTER_ADDR": machines[0].address, "MASTER_PORT": "29500", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    return [
        subprocess.Popen(
            machine.command(sys.executable, "-c", MEETS, str(rank)),
            env=os.environ | given | variables | {"RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, machine in enumerate(machines[:2])
    ]


def test_a_parted_link_is_noticed_by_who_waits_and_by_who_speaks(machines: Machines) -> None:
    both = _meet(machines, GLOO_SOCKET_IFNAME=DEVICE)
    assert [one.stdout.readline() for one in both if one.stdout] == ["met\n", "met\n"]
    machines[2].parted = True
    answers = [one.communicate(timeout=SOON)[0] for one in reversed(both)]  # who waits first, then who speaks
    assert all("gave no answer" in answer for answer in answers), answers


def test_a_wall_between_all_ports_but_one_is_told(machines: Machines) -> None:
    machines[2].open_port = 29500
    both = _meet(machines, GLOO_SOCKET_IFNAME=DEVICE)
    answers = [one.communicate(timeout=SOON)[0] for one in both]
    assert all("do not reach each other" in answer and f"which is {DEVICE} here" in answer for answer in answers)


class Agents:
    """The agents of one run, each with a log of what was said on its machine."""

    def __init__(self, recipe: Path, name: str, machines: Machines) -> None:
        self.recipe = recipe
        self.out = recipe.parent / name
        self._machines = machines[:2]

    def start(self, machine: Machine, restarts: int = 0) -> "subprocess.Popen[bytes]":
        first = self._machines[0]
        words = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-id=truing", "--rdzv-backend=c10d"]
        words += [f"--rdzv-endpoint={first.address}:29500", f"--rdzv-conf=is_host={int(machine is first)}"]
        words += [f"--local-addr={machine.address}", f"--max-restarts={restarts}"]
        words += ["-m", "truing", "run", str(self.recipe), "--out", str(self.out)]
        given = {"GLOO_SOCKET_IFNAME": DEVICE, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        with self._log(machine).open("ab") as log:
            command = machine.command(str(Path(sys.executable).parent / "torchrun"), *words)
            return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | given)

    def start_all(self, restarts: int = 0) -> "list[subprocess.Popen[bytes]]":
        return [self.start(machine, restarts) for machine in self._machines]

    def end(self, going: "list[subprocess.Popen[bytes]]") -> list[int]:
        """Waits for them; their exit codes."""
        return [agent.wait(4 * SOON) for agent in going]

    def said(self) -> str:
        return "\n".join(self._log(machine).read_text() for machine in self._machines)

    def _log(self, machine: Machine) -> Path:
        return self.out.with_name(f"{self.out.name}-{machine.name}.log")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sft_and_ppo(tmp_path_factory.mktemp("machines"), updates=12)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> dict[str, str]:
    """What two processes on one machine leave behind."""
    out = recipe.parent / "undisturbed"
    assert start(recipe, out, 2).wait(4 * SOON) == 0, said(out)
    return left_behind(out)


def test_a_machine_dies_and_comes_back(recipe: Path, machines: Machines, undisturbed: dict[str, str]) -> None:
    two = machines[1]
    agents = Agents(recipe, "dies", machines)
    going = agents.start_all(restarts=3)
    wait_for_lines(agents.out / "ppo" / "metrics.jsonl", 3, going[0])
    two.kill()
    going[1].wait()
    assert agents.end([going[0], agents.start(two)]) == [0, 0], agents.said()
    assert left_behind(agents.out) == undisturbed


def test_a_slow_link_and_a_short_gap_change_nothing(
    recipe: Path, machines: Machines, undisturbed: dict[str, str]
) -> None:
    link = machines[2]
    link.delay, link.rate = 0.01, 2e6
    agents = Agents(recipe, "slow", machines)
    going = agents.start_all()
    wait_for_lines(agents.out / "ppo" / "metrics.jsonl", 2, going[0])
    link.parted = True
    time.sleep(UNREACHABLE_SECONDS / 3)
    link.parted = False
    assert agents.end(going) == [0, 0], agents.said()
    assert left_behind(agents.out) == undisturbed


def test_a_parted_link_ends_the_run_and_its_directory_keeps_one_owner(
    recipe: Path, machines: Machines, undisturbed: dict[str, str]
) -> None:
    one, two, link = machines
    agents = Agents(recipe, "parted", machines)
    going = agents.start_all()
    wait_for_lines(agents.out / "ppo" / "metrics.jsonl", 3, going[0])
    (owner,) = set(workers(agents.out)) & set(one.processes())
    os.kill(owner, signal.SIGSTOP)  # alive, for as long as it takes to look
    link.parted = True
    command = two.command(sys.executable, "-m", "truing", "run", str(recipe), "--out", str(agents.out))
    second = subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=False)
    assert second.returncode == 2
    assert f"is in use by process {owner} on one." in second.stderr
    before = left_behind(agents.out)
    _wait_until(lambda: workers(agents.out) == [owner])
    assert left_behind(agents.out) == before
    os.kill(owner, signal.SIGCONT)
    _wait_until(lambda: workers(agents.out) == [])
    assert agents.said().count("gave no answer") == 2, agents.said()
    link.parted = False
    assert all(code != 0 for code in agents.end(going))
    assert agents.end(agents.start_all()) == [0, 0], agents.said()
    assert left_behind(agents.out) == undisturbed


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + UNREACHABLE_SECONDS + SOON
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
