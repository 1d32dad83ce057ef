"""A Python function in a process of its own, which may raise, hang, fork, exit or print without harm to the run.

The two sides share a socket and speak JSON, so that nothing the function does reaches this process but numbers and
text. A process that dies or does not answer in time is ended together with its children, and the next question
starts another.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from truing.config.sections import Functions
from truing.processes import started
from truing.rewards.keywords import Keywords

WORKER = Path(__file__).with_name("worker.py")
MOST_BYTES = 1 << 26
"""Of an answer; an honest one has some 25 bytes a score"""
MEMORY = "functions.memory_gb"
"""The field that limits it"""
_LOOK_SECONDS = 0.2
"""How often a silent process is looked after"""


class FunctionError(Exception):
    """The function gave no answer that can be used: the reason as half a sentence, and where it was raised.

    `limit` is the field of the recipe that may have been too small for it.
    """

    def __init__(self, reason: str, place: str | None = None, limit: str | None = None) -> None:
        self.reason = reason
        self.place = place
        self.limit = limit
        super().__init__(reason)

    @classmethod
    def told(cls, answer: Mapping[str, Any]) -> "FunctionError":
        """As the function's process says it in JSON."""
        return cls(str(answer["fault"]), answer.get("place"), MEMORY if answer.get("memory") else None)

    def hint(self, usual: str) -> str:
        """What to do about it, `usual` where no field is to be raised; and where it was raised, if that is known."""
        return (more_of(self.limit) or usual) + (f" It was raised in {self.place}." if self.place else "")


@dataclass(eq=False)
class FunctionProcess:
    """Starts when it is first asked, starts again after a fault, and ends with this object."""

    function: str
    settings: Functions
    script: Path = WORKER
    """What the process runs"""
    _running: "_Running | None" = field(default=None, init=False)

    def start(self) -> tuple[str | None, Keywords]:
        """Imports the function; the file it is in, and what it takes. FunctionError if it cannot be imported."""
        if self._running is None:
            running = _Running(self.script)
            self._running = running
            weakref.finalize(self, running.end)
            memory = None if self.settings.memory_gb is None else int(self.settings.memory_gb * 2**30)
            order = {"function": self.function, "path": sys.path, "memory_bytes": memory}
            order["concurrency"] = self.settings.concurrency
            loaded = self._ask(running, order, self.settings.start_seconds, "functions.start_seconds")
            running.file, running.keywords = loaded.get("file"), Keywords.told(loaded.get("keywords", {}))
        return self._running.file, self._running.keywords

    def scores(self, prompts: list[Any], responses: list[Any], columns: Mapping[str, list[Any]]) -> dict[str, Any]:
        """`scores`, a number or None each, and `bad`, the fault of each None. FunctionError for all else.

        Args:
            prompts: one a response.
            responses: or pairs of them.
            columns: by keyword, also one a response.
        """
        return self.answer({"prompts": prompts, "responses": responses, "columns": columns})

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """What the process says to a question of its script's form. FunctionError where it says nothing of use."""
        self.start()
        assert self._running is not None
        return self._ask(self._running, question, self.settings.seconds, "functions.seconds")

    def end(self) -> None:
        """Ends the process, if it runs."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def _ask(self, running: "_Running", question: dict[str, Any], seconds: float, limit: str) -> dict[str, Any]:
        try:
            answer = running.ask(question, seconds, limit)
        except BaseException:  # a stop among them: the answer, should it come, would be taken for that to the next
            self.end()
            raise
        if "fault" in answer:
            raise FunctionError.told(answer)
        return answer


def more_of(limit: str | None) -> str:
    """The hint for a function that a field of the recipe may have kept from its answer."""
    return f"If it needs more, raise {limit}." if limit else ""


def _environment() -> dict[str, str]:
    """This process's, but that a function is none of several that share a run, and sees sets in one order."""
    own = {name: value for name, value in os.environ.items() if name not in started.PLACE}
    return own | {"PYTHONHASHSEED": "0"}


class _Running:
    """One process and the line to it."""

    def __init__(self, script: Path) -> None:
        self.file: str | None = None
        self.keywords = Keywords()
        self._line, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(script)],
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(),
            )

    def ask(self, question: dict[str, Any], seconds: float, limit: str) -> dict[str, Any]:
        """Sends a question and waits for the answer, as long as the field `limit` of the recipe says.

        FunctionError if none comes that is one.
        """
        deadline = time.monotonic() + seconds
        try:
            self._line.settimeout(seconds)
            self._line.sendall(json.dumps(question).encode() + b"\n")
            answer = json.loads(self._receive(deadline))
        except TimeoutError as error:
            raise FunctionError(f"gave no answer in {seconds:g} seconds", limit=limit) from error
        except OSError as error:
            raise self._how_it_ended() from error
        except ValueError as error:
            raise FunctionError("disturbed the line to its process") from error
        if not isinstance(answer, dict):
            raise FunctionError("disturbed the line to its process")
        return answer

    def _receive(self, deadline: float) -> bytes:
        received = b""
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if len(received) > MOST_BYTES:
                raise ValueError("an answer without end")
            self._line.settimeout(min(left, _LOOK_SECONDS))
            ended = self._process.poll() is not None
            try:
                part = self._line.recv(1 << 16)
            except TimeoutError:
                part = None
            if part == b"" or (ended and part is None):  # a child of its own may hold the line after its end
                raise ConnectionError
            received += part or b""
        return received

    def _how_it_ended(self) -> FunctionError:
        try:
            code = self._process.wait(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            return FunctionError("hung up")
        if code < 0:
            return FunctionError(f"was ended by {_name_of(-code)}, maybe for want of memory", limit=MEMORY)
        return FunctionError(f"ended its process with exit code {code}")

    def end(self) -> None:
        """Ends the process and the children that stayed in its group."""
        self._line.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _name_of(number: int) -> str:
    """SIGKILL and its like; most of the real-time signals have a number alone."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
