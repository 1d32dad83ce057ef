"""A user's environment: a Python class, in a process of its own, that answers a policy and rewards its turns.

    class Game:
        def reset(self, prompt, **columns): ...          an episode begins; its row's columns are taken by name
        def step(self, response): ...                    a turn of the policy; returns (observation, reward, done)

An episode has an object of its own. What it says is text, or messages; nothing where the episode is done.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig
from truing.core.errors import RewardError
from truing.core.records import Message, Sample
from truing.data.tool_calls import ID
from truing.processes import group
from truing.rewards.keywords import Keywords, as_plain
from truing.rewards.process import FunctionError, FunctionProcess, more_of
from truing.rewards.python_function import IMPORTED
from truing.rewards.worker import NO_FIT
from truing.rollout.environment import EpisodeStart, PolicyTurn, StepResult

WORKER = Path(__file__).with_name("environment_worker.py")
FORM = (
    "Write it as a class with `reset(self, prompt)` and `step(self, response)`, which returns "
    "(observation, reward, done): text or None, a finite number, and whether the episode has ended."
)
SEED = "seed"
"""The keyword by which `reset` is given the random seed of an episode"""
FAILED = StepResult((), 0.0, done=True, failed=True)


class EpisodeReward:
    """What the environment gave in an episode, as a source of reward."""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """NaN for an episode in which it failed."""
        return [sample.episode.reward if sample.episode else math.nan for sample in samples]


@dataclass
class EnvironmentProcess:
    """An `Environment` of a user's class; of several processes of a run, one asks it for all."""

    name: str
    turns: int
    observation_tokens: int
    drops: bool
    process: FunctionProcess
    file: str | None = None
    """Where it is written"""
    keywords: Keywords = field(default_factory=Keywords)
    """What its `reset` takes besides the prompt"""

    @classmethod
    def load(cls, source: RewardConfig, recipe: Recipe) -> "EnvironmentProcess":
        """A source of kind environment in a recipe.

        Raises:
            RewardError: the class is not there or of another form, or its module cannot be run.
        """
        assert source.path is not None
        process = FunctionProcess(source.path, recipe.functions, WORKER)
        bounds = source.turns or 1, source.observation_tokens or 0
        drops = recipe.rewards.on_bad_score == "drop"
        environment = cls(source.path, *bounds, drops, process)
        environment.file, environment.keywords = group.broadcast(environment._imported)
        return environment

    @classmethod
    def of(cls, recipe: Recipe) -> "EnvironmentProcess | None":
        """The recipe's own, where it has one. RewardError as `load`."""
        return cls.load(recipe.environment, recipe) if recipe.environment else None

    def reset(self, episodes: Sequence[EpisodeStart]) -> list[bool]:
        """See `Environment`."""
        rows = [one.prompt.columns for one in episodes]
        made = {SEED: lambda: [one.seed for one in episodes]}
        columns = self.keywords.given(rows, made, self.name)
        asked = [
            {
                "episode": one.number,
                "prompt": as_plain(one.prompt.text),
                "keywords": {name: values[place] for name, values in columns.items()},
            }
            for place, one in enumerate(episodes)
        ]
        about = [str(one.prompt.text)[:80] for one in episodes]
        return [answer is not None for answer in self._asked("reset", asked, about)]

    def step(self, turns: Sequence[PolicyTurn]) -> list[StepResult]:
        """See `Environment`."""
        asked = [
            {"episode": one.number, "response": one.text, "calls": one.calls, "finished": one.finished} for one in turns
        ]
        heard = self._asked("step", asked, [one.text[:80] for one in turns])
        return [
            FAILED if answer is None else _step_result(answer, one) for answer, one in zip(heard, turns, strict=True)
        ]

    def close(self, numbers: Sequence[int]) -> None:
        """See `Environment`."""
        self._asked("close", [{"episode": one} for one in numbers], [f"the end of episode {one}" for one in numbers])

    def end(self) -> None:
        """Ends the process; what asks again starts another."""
        self.process.end()

    def _imported(self) -> tuple[str | None, Keywords]:
        try:
            return self.process.start()
        except FunctionError as fault:
            what = f"is no environment ({fault.reason.removeprefix('raised ')})."
            hint = (
                FORM
                if fault.reason.startswith(NO_FIT)
                else more_of(fault.limit) or f"Write it as module:Class; {IMPORTED}"
            )
            raise RewardError(what, code="rewards/no-environment", where=self.name, hint=hint) from fault

    def _asked(self, verb: str, asked: list[dict[str, Any]], about: Sequence[str]) -> list[dict[str, Any] | None]:
        """An answer each; None for an episode that is left out."""

        def ask() -> list[dict[str, Any] | None]:
            pairs = zip(self._answers(verb, asked), about, strict=True)
            return [self._sound(verb, answer, text) for answer, text in pairs]

        return group.broadcast(ask)

    def _answers(self, verb: str, asked: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any] | FunctionError]:
        """What the process says of each, or its fault; where it has ended, that of all."""
        size = self.process.settings.batch_size
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            try:
                answers = self.process.answer({verb: part}).get("answers")
                if not isinstance(answers, list) or len(answers) != len(part):
                    raise FunctionError("disturbed the line to its process")
                yield from (FunctionError.told(one) if "fault" in one else one for one in answers)
            except FunctionError as fault:
                among = f" in the {verb} of one of {len(part)} episodes (functions.batch_size: 1 tells of which)"
                reason = fault.reason + (among if len(part) > 1 else "")
                yield from [FunctionError(reason, fault.place, fault.limit)] * len(part)

    def _sound(self, verb: str, answer: dict[str, Any] | FunctionError, about: str) -> dict[str, Any] | None:
        """An answer that is none of a fault. RewardError where it is, and is not left out."""
        if not isinstance(answer, FunctionError):
            return answer
        if self.drops:
            return None
        what = f"{verb}: {answer.reason}. It was asked about {about!r}."
        hint = f"It was raised in {answer.place}." if answer.place and not answer.limit else answer.hint(FORM)
        raise RewardError(what, code="rewards/environment-fails", where=self.name, hint=hint)


def _step_result(answer: dict[str, Any], turn: PolicyTurn) -> StepResult:
    """Text is the user's, or that of the tool that was called; messages are whose they say."""
    said = answer["observation"]
    if isinstance(said, str):
        said = [{"role": "tool", "content": said, "name": turn.calls[0]["name"]}] if turn.calls else [_user(said)]
    return StepResult(tuple(_message(one) for one in said or ()), answer["earned"], answer["done"])


def _user(said: str) -> dict[str, str]:
    return {"role": "user", "content": said}


def _message(one: dict[str, str]) -> Message:
    """A tool's has the id of the call that stands for the policy's: some templates ask for one."""
    more = {key: value for key, value in one.items() if key not in ("role", "content")}
    more |= {"tool_call_id": ID} if one["role"] == "tool" else {}
    return Message("tool" if one["role"] == "tool" else "user", one["content"], json.dumps(more) if more else "")
