"""Raw rows to records: which columns make a demonstration, a preference, a rating or a prompt. Names are TRL's.

    demonstration   prompt, completion           or   messages (the last turn is the completion)
    preference      prompt, chosen, rejected     or   chosen, rejected (their shared beginning is the prompt);
                    margin, source, share
    rating          a demonstration's, and label
    prompt          prompt                       or   the prompt of a demonstration or preference

Every field is plain text or a list of messages; after a prompt of messages, a completion may be text. A prompt of
plain text beside whole conversations is not needed: their beginning says the same in full. Columns that nothing reads
are left out. What is wrong with a row is added to the problems of its file, and then no record is made of it.
"""

from dataclasses import replace

from truing.core.errors import Problems
from truing.core.records import Demonstration, Message, Preference, Prompt, Rating, Text
from truing.data.columns import meant_as
from truing.data.fields import FieldError, as_label, as_margin, as_share, as_text, shown
from truing.data.read import RawRow
from truing.data.turns import Part, shared_prompt


class Row:
    """A row whose fields are asked for by name. A fault is noted and answered with None, so that all are found."""

    def __init__(self, raw: RawRow, problems: Problems, transcripts: bool) -> None:
        self.raw = raw
        self.problems = problems
        self.transcripts = transcripts
        self.read: set[str] = set()
        """The columns that a record was made of, and those that it could have had"""

    def has(self, *names: str) -> bool:
        return all(name in self.raw.values for name in names)

    def note(self, fault: FieldError) -> None:
        """Notes a fault of this row; a field that many rows lack is told once, with how many they are."""
        alike = f"{fault.field} {list(self.raw.values)}" if fault.code.startswith("data/missing-") else None
        self.problems.add(replace(fault.problem, where=self.raw.where), alike)

    def text(self, name: str, part: Part) -> Text | None:
        try:
            return as_text(name, self._value(name), part, self.transcripts)
        except FieldError as fault:
            self.note(fault)
            return None

    def label(self) -> bool | None:
        try:
            return as_label(self._value("label"), self.raw.typed)
        except FieldError as fault:
            self.note(fault)
            return None

    def _value(self, name: str) -> object:
        """What stands in a column; FieldError where it is missing."""
        if not self.has(name):
            there = ", ".join(map(shown, list(self.raw.values)[:6])) or "nothing"
            hint = f"Every row needs one; this one has {there}.{self._mend(name)}"
            raise FieldError(name, "is missing", hint, code="data/missing-field")
        self.read.add(name)
        return self.raw.values[name]

    def _mend(self, missing: str) -> str:
        """What may be meant by a row that lacks a field."""
        if missing == "completion" and self.has("chosen", "rejected"):
            sides = "make a row of each side that you want, with `prompt` and `completion`"
            return f" It is a pair: {sides}; `truing judge` measures a reward on pairs."
        other = meant_as(missing, self.raw.values)
        return f" If {shown(other)} is what you mean, rename it to `{missing}`." if other else ""

    def margin(self) -> float | None:
        self.read.add("margin")
        try:
            return as_margin(self.raw.values.get("margin"), self.raw.typed)
        except FieldError as fault:
            self.note(fault)
            return None

    def share(self) -> float | None:
        self.read.add("share")
        try:
            return as_share(self.raw.values.get("share"), self.raw.typed)
        except FieldError as fault:
            self.note(fault)
            return None

    def source(self) -> str:
        self.read.add("source")
        value = self.raw.values.get("source")
        return "" if value is None else str(value)

    def is_implicit(self) -> bool:
        """Whether `chosen` and `rejected` hold the prompt too: there is none, or only its text beside conversations."""
        if not self.has("prompt"):
            self.read.add("prompt")  # asked for, and not there
        sides = self.raw.values.get("chosen"), self.raw.values.get("rejected")
        whole = all(isinstance(side, list) and side and _role(side[0]) != "assistant" for side in sides)
        return not self.has("prompt") or (whole and not isinstance(self.raw.values["prompt"], list))

    def is_conversation(self) -> bool:
        """Whether it is one list of messages, though that column may have another name."""
        named = self.has("messages") or (not self.has("prompt") and meant_as("messages", self.raw.values) is not None)
        return named and not self.has("completion")

    def conversation(self, name: str, part: Part) -> Text | None:
        """What stands in a column, with its prompt; that of the row is known with it where it says the same."""
        found, prompt = self.text(name, part), self.raw.values.get("prompt")
        if isinstance(found, tuple) and isinstance(prompt, str) and any(prompt.strip() in one.content for one in found):
            self.read.add("prompt")
        return found


def parse_demonstration(row: Row) -> Demonstration | None:
    """A prompt with the completion to imitate. None where a fault was noted; FieldError for others."""
    if row.is_conversation():
        conversation = _messages(row, "conversation")
        return Demonstration(conversation[:-1], conversation[-1:], row.raw.where) if conversation else None
    prompt = row.text("prompt", "prompt")
    completion = _completion(row, "completion", prompt)
    if prompt is None or completion is None:
        return None
    prompt, completion, _ = _last_turns(prompt, completion, completion)
    return Demonstration(prompt, completion, row.raw.where)


def parse_preference(row: Row) -> Preference | None:
    """A prompt with the preferred and the other completion. None where a fault was noted; FieldError for others."""
    margin, share = row.margin(), row.share()
    if row.is_implicit():
        prompt = None
        chosen, rejected = row.conversation("chosen", "conversation"), row.conversation("rejected", "conversation")
    else:
        prompt = row.text("prompt", "prompt")
        chosen, rejected = _completion(row, "chosen", prompt), _completion(row, "rejected", prompt)
    if chosen is None or rejected is None or (prompt is None and not row.is_implicit()):
        return None
    if chosen == rejected:
        hint = "Remove the row; it says nothing about preference."
        raise FieldError("chosen", "equals `rejected`", hint, code="data/equal-sides")
    parts = _shared(chosen, rejected) if prompt is None else _last_turns(prompt, chosen, rejected)
    return Preference(*parts, row.raw.where, margin, row.source(), share=share)


def parse_rating(row: Row) -> Rating | None:
    """A demonstration's prompt and completion, and whether that is wanted. None where a fault was noted."""
    label, answered = row.label(), parse_demonstration(row)
    if label is None or answered is None:
        return None
    return Rating(answered.prompt, answered.completion, label, row.raw.where)


def parse_prompt(row: Row) -> Prompt | None:
    """A prompt, or that of a demonstration or preference. None where a fault was noted; FieldError for others."""
    prompt: Text | None
    if row.has("chosen", "rejected") and row.is_implicit():
        preference = parse_preference(row)
        prompt = preference.prompt if preference else None
    elif row.is_conversation() and not row.has("prompt"):
        turns = row.raw.values.get("messages")
        is_answered = isinstance(turns, list) and turns and _role(turns[-1]) == "assistant"
        messages = _messages(row, "conversation" if is_answered else "prompt")
        prompt = messages[:-1] if messages and is_answered else messages
    else:
        prompt = row.text("prompt", "prompt")
    return None if prompt is None else Prompt(prompt, row.raw.where)


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _messages(row: Row, part: Part) -> tuple[Message, ...] | None:
    messages = row.conversation("messages", part)
    if isinstance(messages, str):
        raise FieldError("messages", "is text", "Make it a list of messages.", code="data/not-messages")
    return messages


def _completion(row: Row, name: str, prompt: Text | None) -> Text | None:
    """A completion of the prompt's kind: after messages, text becomes the assistant's message."""
    completion = row.text(name, "completion")
    if isinstance(prompt, tuple) and isinstance(completion, str):
        return (Message("assistant", completion.strip() if row.transcripts else completion),)
    if isinstance(prompt, str) and isinstance(completion, tuple):
        hint = "Make both text, or both messages."
        raise FieldError(name, "is messages, but `prompt` is text", hint, code="data/mixed-kinds")
    return completion


def _shared(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected of two whole texts or conversations."""
    if isinstance(chosen, tuple) and isinstance(rejected, tuple):
        return _last_turns((), chosen, rejected)
    if isinstance(chosen, tuple) or isinstance(rejected, tuple):
        hint = "Make both text, or both messages."
        raise FieldError("rejected", "is not of the same kind as `chosen`", hint, code="data/mixed-kinds")
    prompt = shared_prompt(chosen, rejected)
    if not prompt:
        hint = "Give the row a `prompt`."
        reason = "shares no beginning with `rejected` that could be the prompt"
        raise FieldError("chosen", reason, hint, code="data/no-shared-prompt")
    chosen, rejected = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not side.strip():
            hint = "Give it an answer of its own."
            raise FieldError(name, "ends where the other side goes on", hint, code="data/no-own-answer")
    return prompt, chosen, rejected


def _last_turns(prompt: Text, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The same with one turn a completion: earlier turns, which both sides must share, go to the prompt."""
    if isinstance(prompt, str) or isinstance(chosen, str) or isinstance(rejected, str):
        return prompt, chosen, rejected
    if chosen[:-1] != rejected[:-1]:
        hint = "Cut both after the first answer that differs: one prompt, two answers."
        raise FieldError("chosen", "and `rejected` part before their last turn", hint, code="data/sides-part-early")
    return prompt + chosen[:-1], chosen[-1:], rejected[-1:]
