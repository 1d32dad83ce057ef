"""Several processes on this machine, started together and ended together.

`torchrun` does this for many machines; on one, this keeps what a person sees of a run in one process: signals go to
each, a fault's exit code is the run's, and nothing else is printed.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from truing.processes.group import ADDRESS, LAUNCHER, LOCAL_RANK, RANK, SIZE
from truing.processes.guard import ENDING

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
"""So that no other machine can speak to them"""
LOOK_SECONDS = 0.1
LAST_SECONDS = 20.0
"""For the others to end by themselves once one has failed: the owner may have a step to save"""


def launch(processes: int, arguments: Sequence[str]) -> tuple[int, str | None]:
    """Runs `truing` with these arguments in so many processes.

    Returns:
        The exit code, and what there is to say of processes that were ended from outside.
    """
    shared = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    shared |= {
        LAUNCHER: str(os.getpid()),
        SIZE: str(processes),
        ADDRESS: "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        **LOOPBACK,
    }
    command = [sys.executable, "-m", "truing", *arguments]
    started: list[subprocess.Popen[bytes]] = []
    passed_on: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        passed_on.append(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup has it
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        for rank in range(processes):
            place = {RANK: str(rank), LOCAL_RANK: str(rank)}
            started.append(subprocess.Popen(command, env=shared | place, start_new_session=True))
        _wait_for_all(started)
        return _verdict([process.wait() for process in started], passed_on)
    finally:
        for process in started:
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_all(started: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Until all have ended; once one has ended badly, the others have some seconds to follow it."""
    deadline = None
    while any(process.poll() is None for process in started):
        time.sleep(LOOK_SECONDS)
        if deadline is None and any(process.poll() for process in started):
            deadline = time.monotonic() + LAST_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for process in started:
                process.kill()


def _verdict(codes: Sequence[int], passed_on: Sequence[int]) -> tuple[int, str | None]:
    """The exit code of the run, from those of its processes and the signals that they were sent through this one."""
    killed = {rank: -code for rank, code in enumerate(codes) if code < 0 and -code not in passed_on}
    said = "; ".join(f"process {rank} was ended by {signal.Signals(number).name}" for rank, number in killed.items())
    if passed_on and any(codes):
        return 128 + passed_on[0], said or None
    return 1 if killed else max(codes), said or None


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
