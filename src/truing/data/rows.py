"""Raw rows to records: which columns make a demonstration, a preference or a prompt. Column names are TRL's.

    demonstration   prompt, completion           or   messages (the last turn is the completion)
    preference      prompt, chosen, rejected     or   chosen, rejected (their shared beginning is the prompt); margin
    prompt          prompt                       or   the prompt of a demonstration or preference

Every field is plain text or a list of messages; after a prompt of messages, a completion may be text. A prompt of
plain text beside two whole conversations is ignored: their shared beginning says the same in full. Columns of other
names are ignored. All faults of a file are reported together, and then no record of it is returned; given `faults`,
they are added to it, which the caller then checks, and the sound records are returned.
"""

from collections.abc import Callable
from typing import TypeVar

from truing.config.sections import Source
from truing.core.records import Demonstration, Message, Preference, Prompt, Text
from truing.data.faults import Faults
from truing.data.fields import FieldError, as_margin, as_text, shown
from truing.data.read import RawRow, read_rows
from truing.data.turns import Part, shared_prompt

R = TypeVar("R", Demonstration, Preference, Prompt)


def read_demonstrations(source: Source, transcripts: bool = False, faults: Faults | None = None) -> list[Demonstration]:
    """Prompts with the completion to imitate. Faults are raised, or go into `faults`."""
    return _read(source, transcripts, faults, _demonstration)


def read_preferences(source: Source, transcripts: bool = False, faults: Faults | None = None) -> list[Preference]:
    """Prompts with the preferred and the other completion. Faults are raised, or go into `faults`."""
    return _read(source, transcripts, faults, _preference)


def read_prompts(source: Source, transcripts: bool = False, faults: Faults | None = None) -> list[Prompt]:
    """Prompts, or those of demonstrations or preferences. Faults are raised, or go into `faults`."""
    return _read(source, transcripts, faults, _prompt)


class _Row:
    """A row whose fields are asked for by name. A fault is noted and answered with None, so that all are found."""

    def __init__(self, raw: RawRow, faults: Faults, transcripts: bool) -> None:
        self.raw = raw
        self.faults = faults
        self.transcripts = transcripts

    def has(self, *names: str) -> bool:
        return all(name in self.raw.values for name in names)

    def note(self, fault: FieldError) -> None:
        self.faults.add(self.raw.where, fault.field, fault.reason, fault.hint)

    def text(self, name: str, part: Part) -> Text | None:
        try:
            if not self.has(name):
                there = ", ".join(map(shown, list(self.raw.values)[:6])) or "nothing"
                raise FieldError(name, "is missing", f"Every row needs one; this one has {there}.")
            return as_text(name, self.raw.values[name], part, self.transcripts)
        except FieldError as fault:
            self.note(fault)
            return None

    def margin(self) -> float | None:
        try:
            return as_margin(self.raw.values.get("margin"), self.raw.typed)
        except FieldError as fault:
            self.note(fault)
            return None

    def is_implicit(self) -> bool:
        """Whether `chosen` and `rejected` hold the prompt too: there is none, or only its text beside conversations."""
        sides = self.raw.values.get("chosen"), self.raw.values.get("rejected")
        whole = all(isinstance(side, list) and side and _role(side[0]) != "assistant" for side in sides)
        return not self.has("prompt") or (whole and not isinstance(self.raw.values["prompt"], list))


def _read(source: Source, transcripts: bool, faults: Faults | None, parse: Callable[[_Row], R | None]) -> list[R]:
    found = Faults(source.path) if faults is None else faults
    records: list[R] = []
    for raw in read_rows(source, found):
        row = _Row(raw, found, transcripts)
        try:
            record = parse(row)
            if record is not None:
                records.append(_like_the_first(record, records))
        except FieldError as fault:
            row.note(fault)
    if faults is None:
        found.check()
    return records


def _like_the_first(record: R, records: list[R]) -> R:
    """The same record, if the file does not mix plain text with conversations."""
    if records and isinstance(record.prompt, str) != isinstance(records[0].prompt, str):
        here, there = ("text", "messages") if isinstance(record.prompt, str) else ("messages", "text")
        reason = f"is {here}, where {records[0].where} has {there}"
        raise FieldError("prompt", reason, "Use one of the two throughout a file.")
    return record


def _demonstration(row: _Row) -> Demonstration | None:
    if row.has("messages") and not row.has("completion"):
        conversation = _messages(row, "conversation")
        return Demonstration(conversation[:-1], conversation[-1:], row.raw.where) if conversation else None
    prompt = row.text("prompt", "prompt")
    completion = _completion(row, "completion", prompt)
    if prompt is None or completion is None:
        return None
    prompt, completion, _ = _last_turns(prompt, completion, completion)
    return Demonstration(prompt, completion, row.raw.where)


def _preference(row: _Row) -> Preference | None:
    margin = row.margin()
    if row.is_implicit():
        prompt = None
        chosen, rejected = row.text("chosen", "conversation"), row.text("rejected", "conversation")
    else:
        prompt = row.text("prompt", "prompt")
        chosen, rejected = _completion(row, "chosen", prompt), _completion(row, "rejected", prompt)
    if chosen is None or rejected is None or (prompt is None and not row.is_implicit()):
        return None
    if chosen == rejected:
        raise FieldError("chosen", "equals `rejected`", "Remove the row; it says nothing about preference.")
    parts = _shared(chosen, rejected) if prompt is None else _last_turns(prompt, chosen, rejected)
    return Preference(*parts, row.raw.where, margin)


def _prompt(row: _Row) -> Prompt | None:
    prompt: Text | None
    if row.has("chosen", "rejected") and row.is_implicit():
        preference = _preference(row)
        prompt = preference.prompt if preference else None
    elif row.has("messages") and not row.has("prompt"):
        turns = row.raw.values["messages"]
        is_answered = isinstance(turns, list) and turns and _role(turns[-1]) == "assistant"
        messages = _messages(row, "conversation" if is_answered else "prompt")
        prompt = messages[:-1] if messages and is_answered else messages
    else:
        prompt = row.text("prompt", "prompt")
    return None if prompt is None else Prompt(prompt, row.raw.where)


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _messages(row: _Row, part: Part) -> tuple[Message, ...] | None:
    messages = row.text("messages", part)
    if isinstance(messages, str):
        raise FieldError("messages", "is text", "Make it a list of messages.")
    return messages


def _completion(row: _Row, name: str, prompt: Text | None) -> Text | None:
    """A completion of the prompt's kind: after messages, text becomes the assistant's message."""
    completion = row.text(name, "completion")
    if isinstance(prompt, tuple) and isinstance(completion, str):
        return (Message("assistant", completion.strip() if row.transcripts else completion),)
    if isinstance(prompt, str) and isinstance(completion, tuple):
        raise FieldError(name, "is messages, but `prompt` is text", "Make both text, or both messages.")
    return completion


def _shared(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected of two whole texts or conversations."""
    if isinstance(chosen, tuple) and isinstance(rejected, tuple):
        return _last_turns((), chosen, rejected)
    if isinstance(chosen, tuple) or isinstance(rejected, tuple):
        raise FieldError("rejected", "is not of the same kind as `chosen`", "Make both text, or both messages.")
    prompt = shared_prompt(chosen, rejected)
    if not prompt:
        hint = "Give the row a `prompt`."
        raise FieldError("chosen", "shares no beginning with `rejected` that could be the prompt", hint)
    chosen, rejected = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not side.strip():
            raise FieldError(name, "ends where the other side goes on", "Give it an answer of its own.")
    return prompt, chosen, rejected


def _last_turns(prompt: Text, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The same with one turn a completion: earlier turns, which both sides must share, go to the prompt."""
    if isinstance(prompt, str) or isinstance(chosen, str) or isinstance(rejected, str):
        return prompt, chosen, rejected
    if chosen[:-1] != rejected[:-1]:
        hint = "Cut both after the first answer that differs: one prompt, two answers."
        raise FieldError("chosen", "and `rejected` part before their last turn", hint)
    return prompt + chosen[:-1], chosen[-1:], rejected[-1:]
