"""What a policy may talk with, and what the two are told of each other; nothing here loads a library for models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from truing.core.records import Message
from truing.data.encode import EncodedPrompt


@dataclass(frozen=True)
class EpisodeStart:
    """What an environment is told of an episode that begins."""

    number: int
    """By which it is called from there on"""
    prompt: EncodedPrompt
    seed: int
    """The same for all answers to one asking of a prompt"""


@dataclass(frozen=True)
class PolicyTurn:
    """A turn of the policy, as an environment is told of it."""

    number: int
    text: str
    calls: list[dict[str, Any]]
    """Of tools, each a `name` and `arguments`"""
    finished: bool
    """Whether the policy closed it"""


@dataclass(frozen=True)
class StepResult:
    """What an environment makes of a turn."""

    observation: tuple[Message, ...]
    """Nothing where the episode ends"""
    reward: float
    done: bool
    failed: bool = False


class Environment(Protocol):
    """What a policy talks with."""

    turns: int
    """Of the policy in an episode, at most"""
    observation_tokens: int
    """Of what it says to one turn, at most"""
    drops: bool
    """Whether an episode in which it fails is left out; else that ends the run"""
    name: str

    def reset(self, episodes: Sequence[EpisodeStart]) -> list[bool]:
        """Begins episodes; whether each could be. RewardError where one could not, and is not to be left out."""

    def step(self, turns: Sequence[PolicyTurn]) -> list[StepResult]:
        """Answers a turn of each of these episodes. RewardError as above."""

    def close(self, numbers: Sequence[int]) -> None:
        """These episodes have ended."""
