"""Imports everything once, then makes runs by forking: a run that is killed after a second starts in no time.

A line of JSON comes in: the arguments of `truing`, and maybe the call before or after which the run sends itself a
signal. The number of the process that runs goes out; after an empty line, how it ended.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import peft  # noqa: F401  imported here so that no run need do it
import transformers.models.llama.modeling_llama  # noqa: F401

import truing.pipeline.execute  # noqa: F401
from truing.cli import main
from truing.estimate import rehearsal
from truing.runs import interruption


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(order)
        print(child, flush=True)
        next(sys.stdin)  # until then the number of the process stays taken
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(order: dict[str, Any]) -> None:
    said = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    code: Any = 1
    os.environ.update(order["environment"])
    try:
        interruption.GRACE_SECONDS = 1e-4
        rehearsal.rehearse = _unrehearsed  # its saves are none of the run's
        if order["die"]:
            _dying(*order["die"], order["signal"])
        sys.argv = ["truing", *order["arguments"]]
        main()
    except SystemExit as leaving:
        code = leaving.code or 0
    except KeyboardInterrupt:  # before the command began
        code = 130
    finally:
        os._exit(code)


def _unrehearsed(*_: Any) -> str:
    return "Not rehearsed."


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
    serve()
