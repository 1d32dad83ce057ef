"""The inside of a function's process: imports the function, calls it batch by batch, answers over a socket.

Run as a script whose standard input is the socket; each side says one JSON object a line:

    <- {"function": "rules.py:short", "path": [...], "memory_bytes": 4294967296, "concurrency": 32}
    -> {"file": ".../rules.py", "keywords": {...}}             or {"fault": ..., "place": ..., "memory": false}
    <- {"prompts": [...], "responses": [...], "columns": {"answer": [...]}}
    -> {"scores": [1.5, null], "bad": {"1": {"fault": ...}}}   or {"fault": ..., "place": ..., "memory": false}

`memory` says that it could not have as much of it as it asked for.

It imports nothing of truing, so that it starts at once and a function cannot reach what trains.
"""

import asyncio
import importlib
import importlib.util
import inspect
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

NO_FUNCTION = "is not a function"
"""The fault of what can be imported and not be called"""
NO_FIT = "does not fit:"
"""How the fault of one begins that cannot be called with prompts and responses"""
NAMES_OF_PROMPTS = ("prompts", "prompt", "questions", "question", "queries", "query", "inputs", "input")
NAMES_OF_RESPONSES = ("responses", "response", "completions", "completion", "answers", "answer", "outputs", "output")
Ask = Callable[[list[Any], list[Any], dict[str, list[Any]]], dict[str, Any]]
"""From prompts, responses and columns to scores and what is bad; or a fault of the whole batch"""
OWN = os.getpid()
"""The process that was started"""
SHOWN = 200
"""Characters of a value or message that is passed on"""


def serve(connection: socket.socket) -> None:
    """Answers until the other side hangs up."""
    lines, order = begun(connection)
    function, answer = loaded(order["function"], order["path"], _misfit)
    if function is not None:
        answer["keywords"] = keywords(function)
    say(connection, answer)
    with asyncio.Runner() as runner:  # one loop as long as the process lives, so that a function may keep a client
        ask = _one_by_one(function, runner, order["concurrency"]) if _is_async(function) else _together(function)
        for line in lines:
            say(connection, _scored(ask, **json.loads(line)))


def begun(connection: socket.socket) -> tuple[BinaryIO, dict[str, Any]]:
    """The lines that the other side says, and its order, which was the first; from here on this process is bounded."""
    lines = connection.makefile("rb")
    threading.Thread(target=die_with_parent, args=(connection.fileno(),), daemon=True).start()
    order = json.loads(lines.readline())
    limit_memory(order["memory_bytes"])
    return lines, order


def loaded(path: str, search: list[str], misfit_of: Callable[[Any], str | None]) -> tuple[Any, dict[str, Any]]:
    """What a path names, and what to say of it: the file it is in, or the fault that keeps it from being used."""
    sys.path[:] = search
    place, _, attribute = path.rpartition(":")
    try:
        module = _module(place)
        function = getattr(module, attribute)
    except BaseException as error:  # importing runs the user's code, which raises what it likes
        return None, fault(error)
    if not callable(function):
        return None, {"fault": NO_FUNCTION}
    misfit = misfit_of(function)
    if misfit is not None:
        return None, {"fault": f"{NO_FIT} {misfit}", "place": _written_at(function)}
    return function, {"file": getattr(module, "__file__", None)}


def _misfit(function: Any) -> str | None:
    """Why a function cannot be called with prompts and responses; None where nothing speaks against it."""
    signature = _signature(function)
    if signature is None:
        return None
    try:
        bound = signature.bind_partial([], [])
        if _left(signature, bound, inspect.Parameter.POSITIONAL_ONLY):
            raise TypeError
    except TypeError:
        return f"it takes {signature}, and is called with two lists, prompts and responses"
    first, *rest = bound.arguments
    if first in NAMES_OF_RESPONSES:
        return f"its first argument, {first}, is given the prompts"
    return f"its second argument, {rest[0]}, is given the responses" if rest and rest[0] in NAMES_OF_PROMPTS else None


def keywords(function: Any) -> dict[str, Any]:
    """What it takes by name behind its first two arguments."""
    signature = _signature(function)
    if signature is None:
        return {}
    bound = signature.bind_partial([], [])
    by_name = _left(signature, bound, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        "needed": [one.name for one in by_name if one.default is one.empty],
        "optional": [one.name for one in by_name if one.default is not one.empty],
        "others": bool(_left(signature, bound, inspect.Parameter.VAR_KEYWORD)),
        "own": list(bound.arguments),
    }


def _signature(function: Any) -> inspect.Signature | None:
    """None for what is written in C."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _left(signature: inspect.Signature, bound: inspect.BoundArguments, *kinds: Any) -> list[inspect.Parameter]:
    """The parameters of these kinds that are neither prompts nor responses."""
    return [one for name, one in signature.parameters.items() if name not in bound.arguments and one.kind in kinds]


def _written_at(function: Any) -> str | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return None if code is None else f"{code.co_filename}, line {code.co_firstlineno}"


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _together(function: Any) -> Ask:
    """Asks about a whole batch by one call."""

    def ask(prompts: list[Any], responses: list[Any], columns: dict[str, list[Any]]) -> dict[str, Any]:
        wanted = len(responses)  # the function may empty the list
        return _numbers(function(prompts, responses, **columns), wanted)

    return ask


def _one_by_one(function: Any, runner: asyncio.Runner, limit: int) -> Ask:
    """Asks a coroutine function about each response by a call of its own, so many of them at once."""

    async def asked(places: asyncio.Semaphore, prompt: Any, response: Any, columns: dict[str, Any]) -> dict[str, Any]:
        async with places:
            return _numbers(await function([prompt], [response], **columns), 1)

    async def all_asked(
        prompts: list[Any], responses: list[Any], columns: dict[str, list[Any]]
    ) -> list[dict[str, Any] | BaseException]:
        places = asyncio.Semaphore(limit)
        own = [{name: [values[index]] for name, values in columns.items()} for index in range(len(responses))]
        calls = [asked(places, *one) for one in zip(prompts, responses, own, strict=True)]
        return await asyncio.gather(*calls, return_exceptions=True)

    def ask(prompts: list[Any], responses: list[Any], columns: dict[str, list[Any]]) -> dict[str, Any]:
        answers = [
            fault(one) if isinstance(one, BaseException) else one
            for one in runner.run(all_asked(prompts, responses, columns))
        ]
        scores = [one.get("scores", [None])[0] for one in answers]
        faults = [one["bad"]["0"] if one.get("bad") else one for one in answers]
        bad = {str(index): faults[index] for index, score in enumerate(scores) if score is None}
        return {"scores": scores, "bad": bad}

    return ask


def _scored(ask: Ask, prompts: list[Any], responses: list[Any], columns: dict[str, list[Any]]) -> dict[str, Any]:
    try:
        return ask(prompts, responses, columns)
    except BaseException as error:  # the user's code raises what it likes
        return fault(error)


def _numbers(scores: Any, wanted: int) -> dict[str, Any]:
    count = _count(scores)
    if count != wanted:
        returned = shown(scores) if count is None else str(count)
        return {"fault": f"was given {wanted} responses and returned {returned}"}
    numbers = [_number(score) for score in scores]
    pairs = enumerate(zip(scores, numbers, strict=True))
    return {
        "scores": numbers,
        "bad": {str(index): _returned(score) for index, (score, number) in pairs if number is None},
    }


def _returned(score: Any) -> dict[str, Any]:
    return {"fault": f"returned {shown(score)}"}


def _number(score: Any) -> float | None:
    try:
        value = math.nan if isinstance(score, str | bytes) else float(score)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _count(scores: Any) -> int | None:
    """How many scores there are; None for what has no order or no length, such as a generator, set or mapping."""
    if isinstance(scores, Set | Mapping | str | bytes):
        return None
    try:
        return len(scores)
    except TypeError:
        return None


def shown(value: Any) -> str:
    """A value as it would be typed, not too long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _module(place: str) -> ModuleType:
    """A module by its dotted name, or by its file."""
    spec = importlib.util.spec_from_file_location(Path(place).stem, place) if place.endswith(".py") else None
    if spec is None or spec.loader is None:
        return importlib.import_module(place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fault(error: BaseException) -> dict[str, Any]:
    """What was raised, and in which line of the function's own file."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None
    message = str(error)
    fault = f"raised {type(error).__name__}" + (f": {message[:SHOWN]}" if message else "")
    memory = isinstance(error, MemoryError) or "can't allocate memory" in message  # the latter is torch's
    return {"fault": fault, "place": place, "memory": memory}


def say(connection: socket.socket, answer: dict[str, Any]) -> None:
    """One line of JSON. A copy of this process, which the user's code has forked, has nothing to say and ends."""
    if os.getpid() != OWN:
        os._exit(0)
    connection.sendall(json.dumps(answer).encode() + b"\n")


def limit_memory(limit: int | None) -> None:
    """Of what the process may allocate; an address space is no measure, libraries reserve much of it in vain."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def die_with_parent(descriptor: int) -> None:
    """Waits for the other side to hang up: a function that hangs does not outlive a run that was killed."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLHUP)
    waiting.poll()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def socket_of_standard_input() -> socket.socket:
    """To the other side: the socket under a number that nobody knows; standard input is empty from here on."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


if __name__ == "__main__":
    serve(socket_of_standard_input())
