"""`truing` in processes of their own that need not import anything: each is forked from one that has."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

Death = tuple[str, str, str, int]
"""before or after, a module, a function of it, the how-manieth call"""
Starter = Callable[[list[str], Path, Path], "Forked | subprocess.Popen[bytes]"]


BARE = ("rehearsal", "report")
"""What a run may be without, since it is two thirds of a tiny one"""
SHARED = "TRUING_TESTS_SHARED"
"""The variable with the directory that all workers of these tests have together"""


@cache
def zygote() -> "Zygote":
    """The one that has imported everything, one for all workers, started when the first asks for it."""
    return Zygote()


def forked(arguments: list[str], said: Path, told: Path) -> "Forked":
    """`truing` in a process that is forked; what it prints, and what on standard error, is added to two files."""
    return zygote().start(arguments, said, errors=told)


def anew(arguments: list[str], said: Path, told: Path) -> "subprocess.Popen[bytes]":
    """The same as a program of its own."""
    with said.open("ab") as out, told.open("ab") as err:
        return subprocess.Popen([sys.executable, "-m", "truing", *arguments], stdout=out, stderr=err)


class Zygote:
    """A process that has imported everything and forks on command."""

    def __init__(self) -> None:
        """Finds it, or starts it; it listens from before it is started, and answers once it can."""
        place = Path(os.environ[SHARED]) / "zygote"
        while (connection := _connected(place)) is None:
            with contextlib.suppress(FileExistsError):  # another worker is starting it
                self._process = _listening(place)
        self._connection, self._lines = connection, connection.makefile("rw")

    def start(
        self,
        arguments: list[str],
        log: Path,
        die: Death | None = None,
        number: int = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
        hurried: bool = False,
        without: Sequence[str] = (),
        errors: Path | None = None,
        ignored: Sequence[int] = (),
        script: Path | None = None,
    ) -> "Forked":
        """`truing` with these arguments, which adds what it says to a log; it may send itself a signal.

        What it says on standard error goes to a file of its own where one is named. One that is `hurried` has no time
        to finish a step once it is asked to stop. It may be `without` what BARE has, is born with some signals ignored,
        as by nohup, and runs another script if one is given.
        """
        order = {"arguments": arguments, "die": die, "signal": number, "hurried": hurried}
        order |= {"log": str(log), "errors": str(errors or log), "ignored": list(ignored), "without": [*without]}
        order |= {"script": str(script or ""), "place": os.getcwd()}
        return Forked(self, self.ask(order | {"environment": {**os.environ, **(environment or {})}}))

    def ask(self, order: object) -> int:
        """The answer to an order, see `zygote.py`."""
        print(json.dumps(order), file=self._lines, flush=True)
        return int(self._lines.readline())


def _connected(place: Path) -> socket.socket | None:
    """A connection to the zygote that listens there, if one does."""
    worker = socket.socket(socket.AF_UNIX)
    try:
        worker.connect(str(place))
    except FileNotFoundError:
        worker.close()
        return None
    return worker


def _listening(place: Path) -> "subprocess.Popen[bytes]":
    """A zygote; FileExistsError if one is there."""
    own = place.with_name(f"zygote-{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own))
        listener.listen()
        try:
            os.link(own, place)
        finally:
            own.unlink()
        descriptor = listener.fileno()
        command = [sys.executable, str(Path(__file__).with_name("zygote.py")), str(descriptor), str(place)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[descriptor])


class Forked:
    """A process that a zygote has forked, with what `subprocess.Popen` has for one that was started."""

    def __init__(self, of: Zygote, pid: int) -> None:
        self._zygote, self.pid = of, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None and has_ended(self.pid):
            self.returncode = self._zygote.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(0.02)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def has_ended(process: int) -> bool:
    """Whether a process is gone, or dead and not waited for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
