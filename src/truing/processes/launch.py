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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from truing.core.processor import THREADS, threads_of_each
from truing.processes.failures import FAILED, GONE, UNTOLD
from truing.processes.started import ADDRESS, LAUNCHER, LOCAL_RANK, RANK, SIZE
from truing.processes.watchdog import ENDING

Process: TypeAlias = "subprocess.Popen[bytes]"
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
"""So that no other machine can speak to them"""
LOOK_SECONDS = 0.1
ALONE_SECONDS, LAST_SECONDS = 3.0, 600.0
"""For the others to end by themselves once one has failed, and once they are asked to: the owner may be saving"""


def launch(processes: int, arguments: Sequence[str]) -> tuple[int, str | None]:
    """Runs `truing` with these arguments in so many processes.

    Returns:
        The exit code, and what there is to say of processes that were ended from outside.
    """
    shared = {THREADS: str(threads_of_each(processes)), **os.environ}
    shared |= {
        LAUNCHER: str(os.getpid()),
        SIZE: str(processes),
        ADDRESS: "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        **LOOPBACK,
    }
    started: list[Process] = []
    with signals_passed_on(started) as passed_on:
        for rank in range(processes):
            started.append(start_truing(arguments, shared | {RANK: str(rank), LOCAL_RANK: str(rank)}))
        first = _wait_for_all(started, passed_on)
        return _verdict([process.wait() for process in started], first, passed_on)


def start_truing(arguments: Sequence[str], environment: Mapping[str, str], **streams: Any) -> Process:
    """`truing` with these arguments in a process that a terminal's Ctrl-C does not reach by itself."""
    command = [sys.executable, "-m", "truing", *arguments]
    return subprocess.Popen(command, env=environment, start_new_session=True, **streams)


@contextmanager
def signals_passed_on(started: Sequence[Process]) -> Iterator[Sequence[int]]:
    """Inside, a signal that ends a run goes to each of these, which may become more; those that came so far.

    Whatever still runs afterwards is killed.
    """
    passed_on: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        passed_on.append(number)
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup has it
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        yield passed_on
    finally:
        for process in started:
            process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_all(started: Sequence[Process], passed_on: Sequence[int]) -> int | None:
    """Until all have ended; the rank that first ended badly, if one did.

    The others are then asked to end, where nobody has asked them yet: the owner, busy with what takes long, hears of it
    so, and saves its last step.
    """
    first, since, asked = None, 0.0, False
    while any(process.poll() is None for process in started):
        time.sleep(LOOK_SECONDS)
        if first is None:
            first, since = _failed(started), time.monotonic()
            continue
        waited = time.monotonic() - since
        if waited > ALONE_SECONDS and not (asked or passed_on):
            asked = True
            for process in started:
                process.terminate()
        if waited > LAST_SECONDS:
            for process in started:
                process.kill()
    return _failed(started) if first is None else first


def _failed(started: Sequence[Process]) -> int | None:
    """The lowest rank that was ended from outside, or, where none was, that has ended badly: it may be for that."""
    badly = {rank: code for rank, process in enumerate(started) if (code := process.poll())}
    return next((rank for rank, code in badly.items() if code < 0), next(iter(badly), None))


def _verdict(codes: Sequence[int], first: int | None, passed_on: Sequence[int]) -> tuple[int, str | None]:
    """The exit code of the run, from that of the process which first ended badly, and the signals passed on to all."""
    if first is None:
        return 0, None
    if passed_on:
        return 128 + passed_on[0], None
    if codes[first] < 0:
        return FAILED, f"process {first} was ended by {signal.Signals(-codes[first]).name}"
    return FAILED if codes[first] == UNTOLD else codes[first], GONE if UNTOLD in codes else None


def free_port() -> int:
    """A port of this machine on which nobody listens at the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
