"""Several processes on this machine, started together and ended together.

`torchrun` does this for many machines; on one, this keeps what a person sees of a run in one process: signals go to
each, the first fault's exit code is the run's, and nothing else is printed.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from truing.processes.world import LOCAL_RANK, RANK, SIZE

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
"""So that no other machine can speak to them"""
LOOK_SECONDS = 0.1
LAST_SECONDS = 20.0
"""For the others to end by themselves once one has failed: the owner may have a step to save"""


def launch(processes: int, arguments: Sequence[str]) -> tuple[int, str | None]:
    """Runs `truing` with these arguments in so many processes.

    Returns:
        The exit code, and what there is to say of a process that was ended from outside.
    """
    shared = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
    shared |= {SIZE: str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), **LOOPBACK}
    command = [sys.executable, "-m", "truing", *arguments]
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for rank in range(processes):
            place = {RANK: str(rank), LOCAL_RANK: str(rank)}
            started.append(subprocess.Popen(command, env=shared | place, start_new_session=True))
        return _first_fault(started)
    finally:
        for process in started:
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_fault(started: Sequence["subprocess.Popen[bytes]"]) -> tuple[int, str | None]:
    """Waits until all have ended; once one has ended badly, the others have some seconds to follow it."""
    deadline = None
    while any(process.poll() is None for process in started):
        time.sleep(LOOK_SECONDS)
        if deadline is None and any(process.poll() for process in started):
            deadline = time.monotonic() + LAST_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for process in started:
                process.kill()
    codes = [process.wait() for process in started]
    killed = {rank: signal.Signals(-code).name for rank, code in enumerate(codes) if code < 0}
    said = "; ".join(f"process {rank} was ended by {name}" for rank, name in killed.items())
    return 1 if killed else max(codes), said or None


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
