"""The other side of `EnvironmentProcess`: imports a class, and has an object of it for each episode.

Run as a script whose standard input is the socket, as `worker` is, whose first line it shares:

    <- {"reset": [{"episode": 7, "prompt": ..., "keywords": {"answer": 4}}, ...]}
    -> {"answers": [{}, {"fault": ..., "place": ..., "memory": false}, ...]}
    <- {"step": [{"episode": 7, "response": "...", "calls": [...], "finished": true}, ...]}
    -> {"answers": [{"observation": "higher", "earned": 0.0, "done": false}, ...]}
    <- {"close": [{"episode": 7}, ...]}

Those of its methods that are `async` are awaited together.
"""

import asyncio
import importlib.util
import inspect
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from truing.rewards import worker
else:  # a script beside this one: nothing of truing is imported here
    spec = importlib.util.spec_from_file_location("truing_worker", Path(__file__).with_name("worker.py"))
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)

LARGEST_REWARD = 1e18
"""Of a turn: as the largest score of a function, its square is still a number in single precision"""
TOLD = ("calls", "finished")
"""What `step` is given by name where it takes it: the calls of tools in a turn, and whether the policy closed it"""


class Episodes:
    """Those that go on, each with an object of the user's class."""

    def __init__(self, made: Any, concurrency: int) -> None:
        self._made = made
        self._concurrency = concurrency
        self._told = [name for name in TOLD if name in inspect.signature(made.step).parameters]
        self._going_on: dict[int, Any] = {}

    async def answers(self, request: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """To each of the questions of one kind."""
        ((verb, asked),) = request.items()
        places = asyncio.Semaphore(self._concurrency)

        async def one(question: dict[str, Any]) -> dict[str, Any]:
            async with places:
                try:
                    found: dict[str, Any] = await getattr(self, f"_{verb}")(**question)
                except BaseException as error:  # the user's code raises what it likes
                    return worker.fault(error)
                return found

        return {"answers": await asyncio.gather(*map(one, asked))}

    async def _reset(self, episode: int, prompt: Any, keywords: dict[str, Any]) -> dict[str, Any]:
        self._going_on[episode] = self._made()
        returned = await _awaited(self._going_on[episode].reset(prompt, **keywords))
        if returned is not None:
            return {"fault": f"returned {worker.shown(returned)}, and a policy begins with its row's prompt alone"}
        return {}

    async def _step(self, episode: int, response: str, **told: Any) -> dict[str, Any]:
        if episode not in self._going_on:
            return {"fault": "has lost the episode: its process ended and was started again"}
        step = self._going_on[episode].step
        return _checked(await _awaited(step(response, **{name: told[name] for name in self._told})))

    async def _close(self, episode: int) -> dict[str, Any]:
        ended = self._going_on.pop(episode, None)
        if hasattr(ended, "close"):
            await _awaited(ended.close())
        return {}


async def _awaited(returned: Any) -> Any:
    return await returned if inspect.isawaitable(returned) else returned


def _checked(returned: Any) -> dict[str, Any]:
    """What `step` returned, or what is wrong with it."""
    fault = {"fault": f"returned {worker.shown(returned)}, and not (observation, reward, done)"}
    if not isinstance(returned, tuple | list) or len(returned) != 3:
        return fault
    said, reward, done = returned
    try:
        number, ended = float(reward), bool(done)
    except Exception:
        return fault
    if isinstance(reward, str | bytes) or not math.isfinite(number):
        return fault
    if abs(number) > LARGEST_REWARD:
        return {"fault": f"gave a reward of {number:g}, and may give {LARGEST_REWARD:g}"}
    if isinstance(said, list | tuple) and said and all(map(_is_message, said)):
        said = list(said)
    elif not ended and not (isinstance(said, str) and said):
        form = "an observation is text, or messages of user and tool"
        return {"fault": f"said {worker.shown(said)} and is not done; {form}"}
    elif not isinstance(said, str):
        said = None
    try:
        json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return {"fault": f"said {worker.shown(said)}, which has half a surrogate pair"}
    return {"observation": said, "earned": number, "done": ended}


def _is_message(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and {"role", "content"} <= one.keys() <= {"role", "content", "name"}
        and one["role"] in ("user", "tool")
        and all(isinstance(value, str) for value in one.values())
    )


def _misfit(made: Any) -> str | None:
    """Why this is no environment; None where nothing speaks against it."""
    if not inspect.isclass(made):
        return "is no class"
    for name, given in (("reset", "the prompt"), ("step", "the policy's response")):
        method = getattr(made, name, None)
        if not callable(method):
            return f"has no {name}"
        try:
            bound = inspect.signature(method).bind_partial(None, None)
        except (TypeError, ValueError):
            return f"{name} takes {inspect.signature(method)}, and is given {given}"
        needed = worker.keywords(method)["needed"]
        unknown = [one for one in needed if one not in TOLD]
        if name == "step" and unknown:
            return f"{name} takes `{unknown[0]}`, and is given the response, and by name {' and '.join(TOLD)}"
        if len(bound.arguments) < 2:
            return f"{name} takes {inspect.signature(method)}, and is given {given}"
    try:
        inspect.signature(made).bind()
    except TypeError as error:
        return f"cannot be made without arguments ({error})"
    return None


def serve() -> None:
    """Answers until the other side hangs up."""
    connection = worker.socket_of_standard_input()
    lines, order = worker.begun(connection)
    made, answer = worker.loaded(order["function"], order["path"], _misfit)
    if made is None:
        worker.say(connection, answer)
        return
    worker.say(connection, answer | {"keywords": worker.keywords(made.reset)})
    episodes = Episodes(made, order["concurrency"])
    with asyncio.Runner() as runner:  # one loop as long as the process lives, so that a class may keep a client
        for line in lines:
            worker.say(connection, runner.run(episodes.answers(json.loads(line))))


if __name__ == "__main__":
    serve()
