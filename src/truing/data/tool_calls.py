"""Calls of tools in an answer, as the model's own chat template writes them.

How it writes one is seen in a conversation with a call that it is given to render. Templates that write a call as JSON
are read: Hermes and Qwen (`<tool_call>{...}</tool_call>`), Llama 3.1 (`{"name": ..., "parameters": ...}`), Mistral
(`[TOOL_CALLS][{...}]`) and their like.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAME, ARGUMENTS = "truing_tool", {"truing_key": "truing_value"}
"""Of the call that a template is given"""
ID = "truing000"
"""Nine characters, as Mistral's templates ask"""
CALLING = {"tool_calls": [{"id": ID, "type": "function", "function": {"name": NAME, "arguments": ARGUMENTS}}]}
"""What the assistant's turn has that makes it"""
DEEPEST = 64
"""Lists and objects within each other in a call: a policy may write what no encoder can send on"""
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class CallForm:
    """How a template writes a call."""

    before: str
    """What stands in front of the JSON; empty where the answer begins with it"""
    name: str
    """The key of the tool's name"""
    arguments: str
    """That of its arguments"""

    @classmethod
    def of(cls, written: str) -> "CallForm | None":
        """From what a template makes of a turn with `CALLING`; None where it has no call as JSON."""
        for start, value in _values(written):
            for one in _objects(value):
                name = next((key for key, of_key in one.items() if of_key == NAME), None)
                arguments = next((key for key, of_key in one.items() if _arguments(of_key) == ARGUMENTS), None)
                if name is not None and arguments is not None:
                    return cls(written[:start].strip(), name, arguments)
        return None

    def calls(self, answer: str) -> list[dict[str, Any]]:
        """The calls in an answer, special tokens included, each a `name` and `arguments`; none where none can be read.

        A call whose arguments are no object, or that is nested deeper than `DEEPEST`, is none.
        """
        found: list[dict[str, Any]] = []
        parts = answer.split(self.before)[1:] if self.before else [answer]
        for part in parts:
            try:
                value, _ = _JSON.raw_decode(part.lstrip())
                objects = [*_objects(value)]
            except (ValueError, RecursionError):
                continue
            for one in objects:
                name, arguments = one.get(self.name), _arguments(one.get(self.arguments))
                if isinstance(name, str) and arguments is not None:
                    found.append({"name": name, "arguments": arguments})
        return found


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """Every JSON object or list in a text, the outermost first, behind the place where it begins."""
    for start, letter in enumerate(text):
        if letter in "{[":
            try:
                value, _ = _JSON.raw_decode(text, start)
            except (ValueError, RecursionError):
                continue
            yield start, value


def _objects(value: Any, deepest: int = DEEPEST) -> Iterator[dict[str, Any]]:
    """The JSON objects in a value, an object before those in it. RecursionError where it is nested deeper than that."""
    if deepest < 0:
        raise RecursionError
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(one, deepest - 1)


def _arguments(value: Any) -> dict[str, Any] | None:
    """An object, or one that is written as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
            _ = [*_objects(value)]
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None
