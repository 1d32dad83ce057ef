"""Imports everything once, then makes processes of `truing` by forking: each starts in no time.

It is given the descriptor of a socket to which workers connect, and where that is; it ends when all of them have left.
Of each a line of JSON comes in. It is an order: the arguments of `truing`, or of another script, the files that have
what it says and what it complains of, its environment and folder, and maybe the call before or after which it sends
itself a signal; the number of the process goes out. Or it is the number of such a process; how it ended goes out.
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, TextIO

import pandas  # noqa: F401  imported here, as the next ones, so that no run need do it
import peft  # noqa: F401
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401
from bare import leave_out
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import truing
from truing.cli import main
from truing.core.garbage import keep_libraries
from truing.processes import launch
from truing.processes.watchdog import ENDING
from truing.runs import interruption

TAKING_APART = 0.5
"""Seconds in which Python ends once all is said"""


def serve(listener: socket.socket, place: Path) -> None:
    for module in pkgutil.walk_packages(truing.__path__, "truing."):
        if module.name != "truing.__main__":
            importlib.import_module(module.name)
    _load_a_model()
    keep_libraries()  # they need not be looked through again whenever a run frees its memory
    for worker, order in _orders(listener, place):
        answer = _how_it_ended(order) if isinstance(order, int) else _started(order)
        with contextlib.suppress(OSError):  # a worker that was killed takes nobody else's zygote with it
            print(answer, file=worker, flush=True)


def _orders(listener: socket.socket, place: Path) -> Iterator[tuple[TextIO, Any]]:
    """From whom an order comes, and the order, until all have left and nobody has come as the last one left."""
    workers: dict[socket.socket, TextIO] = {}
    while True:
        for one in select.select([listener, *workers], [], [])[0]:
            if one is listener:
                new, _ = listener.accept()
                workers[new] = new.makefile("rw")
            elif line := _said(workers[one]):
                yield workers[one], json.loads(line)
            else:
                del workers[one]
        if not workers:
            place.unlink(missing_ok=True)
            if not select.select([listener], [], [], 0)[0]:
                return


def _said(worker: TextIO) -> str:
    """Its next line; nothing once it has left, in whatever way."""
    try:
        return worker.readline()
    except OSError:
        return ""


def _load_a_model() -> None:
    """For the first one transformers compiles a thousand patterns of names, a third of what a tiny run computes."""
    with TemporaryDirectory() as place:
        config = LlamaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        LlamaForCausalLM(config).save_pretrained(place)
        AutoModelForCausalLM.from_pretrained(place)


def _how_it_ended(process: int) -> int:
    _, status = os.waitpid(process, 0)  # until then its number stays taken
    return os.waitstatus_to_exitcode(status)


def _started(order: dict[str, Any]) -> int:
    process = os.fork()
    if process == 0:
        _run(order)
    return process


def _run(order: dict[str, Any]) -> None:
    for stream, file in ((1, order["log"]), (2, order["errors"])):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    for number in ENDING:  # whoever began the tests may have them ignored
        _as_a_new_program_has(number)
    for number in order["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.chdir(order["place"])
    os.environ.clear()
    os.environ.update(order["environment"])
    tempfile.tempdir = None  # which was looked up in another environment
    if order["hurried"]:
        interruption.GRACE_SECONDS = 1e-4
    leave_out(setattr, order["without"])
    if order["die"]:
        _dying(*order["die"], order["signal"])
    launch.subprocess = SimpleNamespace(Popen=Rank)  # type: ignore[assignment]
    if order["script"]:
        sys.argv, sys.path[0] = [order["script"], *order["arguments"]], str(Path(order["script"]).parent)
        _end_as(lambda: runpy.run_path(order["script"], run_name="__main__"), _end_as_python_does)
    _end_as_truing(order["arguments"])


def _end_as_truing(arguments: Sequence[str], end: Callable[[int], object] = os._exit) -> None:
    """The process ends with the code of `truing` with these arguments."""
    sys.argv = ["truing", *arguments]
    _end_as(main, end)


def _end_as_python_does(code: int) -> None:
    """With what waits for the end, but nothing is taken apart, which is a third of a second of a core.

    As long a first rank is there yet with the store in which the others leave word.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(TAKING_APART if os.environ.get("RANK") == "0" else 0)
    os._exit(code)


def _end_as(program: Callable[[], object], end: Callable[[int], object]) -> None:
    code: Any = 1
    try:
        program()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    except KeyboardInterrupt:  # before the command began
        code = 130
    except Exception:  # of a script
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        end(code)


class Rank:
    """One of the processes that `truing` starts, forked from the one that does: as `subprocess.Popen`."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        start_new_session: bool,
        stdout: Any = None,
        stderr: int = 0,
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            if start_new_session:
                os.setsid()
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    _as_a_new_program_has(number)
            os.environ.update(env)
            for stream in (1, 2) if stdout is not None else ():
                os.dup2(stdout.fileno(), stream)
            _end_as_truing(command[command.index("truing") + 1 :], _end_as_python_does)

    def poll(self) -> int | None:
        """How it ended, if it has. It stays to be waited for, so that a handler of signals may ask in between."""
        return self._look(os.WNOHANG)

    def wait(self) -> int:
        code = self._look(0)
        assert code is not None
        return code

    def _look(self, options: int) -> int | None:
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | options)
        if ended is not None:
            self.returncode = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _as_a_new_program_has(number: int) -> None:
    """A signal does what the system, or Python, makes of it where nothing is said."""
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _dying(moment: str, module: str, name: str, times: int, number: int) -> None:
    """The process sends itself a signal before or after a function of a module is called for the n-th time."""
    *path, last = name.split(".")
    owner: Any = importlib.import_module(module)
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, _deadly(getattr(owner, last), moment, times, number))


def _deadly(call: Callable[..., Any], moment: str, times: int, number: int) -> Callable[..., Any]:
    left = [times]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and moment == "before":
            _send(number)
        result = call(*args, **kwargs)
        if left[0] == 0 and moment == "after":
            _send(number)
        return result

    return called


def _send(number: int) -> None:
    """A signal that does not kill at once is given the time to take effect here."""
    os.kill(os.getpid(), number)
    time.sleep(1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
