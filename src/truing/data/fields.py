"""One field of a row as checked text, messages or a number. What cannot be used raises FieldError."""

import json
import re
import sys

from truing.core.errors import DataError
from truing.core.records import Message, Speaker, Text
from truing.data.turns import Part, is_transcript, order_fault, split_transcript

ROLES: dict[object, Speaker] = {"system": "system", "user": "user", "assistant": "assistant"}
IN_EPISODES = " What tools say has its place in an environment's episodes: docs/environments.md."
AS_PYTHON_PRINTS = re.compile(
    r"\s*(?:array\()?\[\s*\{(?=.*'(?:role|from)'\s*:\s*'(?:system|user|assistant|human|gpt|tool)')"
    r"(?=.*'(?:content|value)'\s*:).*\}\s*\](?:,\s*dtype=object\))?\s*",
    re.DOTALL,
)
"""A list of messages, and nothing else, that was made a text by Python and not by JSON, as in a table of pandas"""
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}


class FieldError(DataError):
    """A field cannot be used: which, why, and the hint."""

    def __init__(self, field: str, reason: str, hint: str, *, code: str) -> None:
        super().__init__(f"`{field}` {reason}.", code=code, field=field, hint=hint)


def as_text(field: str, value: object, part: Part, transcripts: bool) -> Text:
    """Plain text, or messages in an order that suits `part`; FieldError for anything else.

    With `transcripts`, an HH-shaped text becomes messages, unless it is a completion: people's answers and models'
    do begin with 'Human:', and what follows a prompt is the assistant's whatever it says.
    """
    value = _messages_in_text(value)
    if isinstance(value, list):
        if not value:
            hint = "Give it at least one message."
            raise FieldError(field, "is an empty list of messages", hint, code="data/no-messages")
        messages = tuple(_message(f"{field}[{index}]", item) for index, item in enumerate(value))
    elif not isinstance(value, str):
        raise FieldError(field, f"is {kind(value)}", "Make it text, or a list of messages.", code="data/not-text")
    elif AS_PYTHON_PRINTS.fullmatch(value):
        hint = "Write it there as JSON, by json.dumps, or the rows as JSON Lines or Parquet."
        raise FieldError(field, "is a list of messages as Python prints it", hint, code="data/python-messages")
    elif transcripts and part != "completion" and is_transcript(sound(field, value)):
        messages = split_transcript(value, part)
        for index, message in enumerate(messages):
            sound(f"{field}[{index}]", message.content)
    else:
        return sound(field, value)
    fault = order_fault(messages, part)
    if fault is not None:
        index, reason = fault
        hint = "Turns alternate: user, assistant, user, ..., after one system turn at most."
        raise FieldError(f"{field}[{index}]", reason, hint, code="data/turn-order")
    return messages


def _messages_in_text(value: object) -> object:
    """Messages that stand as JSON in a text, as in a cell of a table; anything else as it is."""
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    is_messages = isinstance(found, list) and found and all(isinstance(one, dict) and "role" in one for one in found)
    return found if is_messages else value


def as_margin(value: object, typed: bool) -> float | None:
    """How much better the chosen side is; None where the row does not say. Without types, digits are a number."""
    try:
        return _number(value, typed, 0.0, sys.float_info.max)
    except (ValueError, OverflowError) as error:
        hint = "Make it a finite number that is not negative, or leave it out."
        raise FieldError("margin", f"is {shown(value)}", hint, code="data/bad-margin") from error


def as_share(value: object, typed: bool) -> float | None:
    """Of the people who preferred a side, those who preferred the chosen one; None and digits as of a margin."""
    try:
        return _number(value, typed, 0.5, 1.0)
    except (ValueError, OverflowError) as error:
        hint = "Make it a number from 0.5 to 1 (below, swap the sides), or rename it if it means something else."
        raise FieldError("share", f"is {shown(value)}", hint, code="data/bad-share") from error


def _number(value: object, typed: bool, low: float, high: float) -> float | None:
    """None for what is not there. ValueError or OverflowError for what is no number, or none of these."""
    if value is None or (value == "" and not typed):
        return None
    if isinstance(value, bool) or (isinstance(value, str) and typed) or not isinstance(value, int | float | str):
        raise ValueError(kind(value))
    number = float(value)
    if not low <= number <= high:
        raise ValueError(str(number))
    return number


def as_label(value: object, typed: bool) -> bool:
    """Whether a completion is wanted. Without types, true and false are words."""
    if isinstance(value, bool):
        return value
    if not typed and str(value).strip().lower() in ("true", "false"):
        return str(value).strip().lower() == "true"
    hint = "Make it true where the completion is wanted, and false where it is not."
    raise FieldError("label", f"is {shown(value)}", hint, code="data/bad-label")


def kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    return "null" if value is None else _KINDS.get(type(value), f"of type {type(value).__name__}")


def shown(value: object) -> str:
    """A short value as it stands, a long or nested one by its kind."""
    is_short = isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) <= 40
    return repr(value) if is_short else kind(value)


def _message(field: str, item: object) -> Message:
    if not isinstance(item, dict):
        hint = 'A message is {"role": ..., "content": ...}.'
        raise FieldError(field, f"is {kind(item)}", hint, code="data/bad-message")
    role, content = item.get("role"), item.get("content")
    if role is None:
        hint = "Its role is system, user or assistant."
        if "from" in item:
            hint = "Call `from` role and `value` content; `human` is user there, and `gpt` assistant."
        raise FieldError(field, "has no role", hint, code="data/no-role")
    if not isinstance(role, str) or role not in ROLES:
        hint = "A role is system, user or assistant." + (IN_EPISODES if role == "tool" else "")
        raise FieldError(f"{field}.role", f"is {shown(role)}", hint, code="data/unknown-role")
    if not isinstance(content, str):
        reason = f"is {kind(content)}" if "content" in item else "is missing"
        hint = "Give it text; nothing else can be learnt from."
        raise FieldError(f"{field}.content", reason, hint, code="data/no-content")
    more = {key: value for key, value in item.items() if key not in ("role", "content") and value is not None}
    if not content and "tool_calls" in more:
        hint = "Write the call into it, as the model's chat template writes calls."
        raise FieldError(f"{field}.content", "is empty beside tool_calls", hint, code="data/call-without-text")
    return Message(ROLES[role], sound(f"{field}.content", content), json.dumps(more, default=str) if more else "")


def is_sound(text: str) -> bool:
    """Whether a row may have this text: it says something, and a tokenizer can encode it."""
    try:
        return sound("text", text) == text
    except FieldError:
        return False


def sound(field: str, text: str) -> str:
    """The same text, if it says something and a tokenizer can encode it."""
    if not text:
        raise FieldError(field, "is empty", "Give it text, or remove the row.", code="data/empty-text")
    if not text.strip():
        hint = "Give it text, or remove the row."
        raise FieldError(field, "has nothing but white space", hint, code="data/blank-text")
    if "\0" in text:
        raise FieldError(field, "has a NUL character", "Remove the character.", code="data/nul-character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        reason = f"has half a surrogate pair at character {error.start + 1}"
        hint = "Remove it, or write the character whole."
        raise FieldError(field, reason, hint, code="data/half-surrogate") from error
    return text
