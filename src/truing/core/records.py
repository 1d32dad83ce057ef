"""Text that travels: what a row of data means, once read and checked.

`Text` is either a plain string or a conversation. `where` says which file and line a record came from, so that
every later complaint can name it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Speaker = Literal["system", "user", "assistant", "tool"]
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Speaker
    content: str
    more: str = ""
    """Other keys that it has, such as tool_calls, as JSON; the chat template is given them"""

    @property
    def turn(self) -> dict[str, Any]:
        """As a chat template takes it."""
        return {"role": self.role, "content": self.content, **(json.loads(self.more) if self.more else {})}


Text = str | tuple[Message, ...]


def as_messages(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """The messages whose `turn`s these are."""
    return tuple(map(_message, turns))


def _message(turn: Mapping[str, Any]) -> Message:
    more = {key: value for key, value in turn.items() if key not in ("role", "content")}
    return Message(turn["role"], turn["content"], json.dumps(more) if more else "")


def readable(prompt: Text) -> str:
    """A prompt as one text for people to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the completion to imitate."""

    prompt: Text
    completion: Text
    where: str
    columns: str = ""
    """The further columns of its row, as JSON, for functions that take them; empty where none are carried"""


@dataclass(frozen=True)
class Preference:
    """A prompt and two completions, of which people preferred `chosen`, by `margin` where they said so."""

    prompt: Text
    chosen: Text
    rejected: Text
    where: str
    margin: float | None = None
    source: str = ""
    """Where it is from, where the row says so"""
    columns: str = ""
    """As those of a demonstration"""
    share: float | None = None
    """Of the people who preferred a side, those who preferred `chosen`, where the row says so"""


@dataclass(frozen=True)
class Rating:
    """A prompt and a completion, and whether it is one that is wanted."""

    prompt: Text
    completion: Text
    label: bool
    where: str
    columns: str = ""


@dataclass(frozen=True)
class Prompt:
    """A prompt to be answered."""

    prompt: Text
    where: str
    columns: str = ""
    """As those of a demonstration"""


Record = Demonstration | Preference | Rating | Prompt


@dataclass(frozen=True)
class Episode:
    """What an environment made of a prompt: the policy's turns and its own, one after the other."""

    turns: tuple[Message, ...]
    """All that followed the prompt, the policy's as the assistant's"""
    reward: float
    """The sum of what the environment gave for the policy's turns; NaN where it failed"""
    observed: int
    """Tokens of what the environment said"""


@dataclass(frozen=True)
class Sample:
    """A prompt and the policy's response to it, as text and as tokens.

    `response` is text without special tokens; the token tuples are what the models see, the closing eos included
    where the response has one (`finished`). Of an `episode`, both are all that followed the prompt.
    """

    prompt: Text
    response: str
    prompt_tokens: tuple[int, ...]
    response_tokens: tuple[int, ...]
    finished: bool
    columns: str = ""
    """The further columns of the prompt's row, as JSON; rows of one file have the same ones"""
    episode: Episode | None = None
    """Where an environment answered the policy"""
    more: str = ""
    """Other keys of the message that it is in a row, as those of a message"""

    @property
    def answer(self) -> Text:
        """What followed the prompt, as a chat template takes it: messages where it is more than a text."""
        if self.episode is not None:
            return self.episode.turns
        return (Message("assistant", self.response, self.more),) if self.more else self.response

    @property
    def length(self) -> int:
        """Tokens that the policy drew."""
        return len(self.response_tokens) - (self.episode.observed if self.episode else 0)
