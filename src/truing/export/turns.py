"""A chat template as the text around what is said, for servers whose own templates know no Jinja.

It is found by asking: conversations whose turns are marks are rendered, and what stands between the marks is kept. It
is believed only where it writes other conversations as the template does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from truing.core.errors import ModelError
from truing.core.records import Message, Speaker
from truing.data.chat import TextFormat, answered_text, prompt_text
from truing.data.templates import decoded_prefix

MARKS = tuple(f"⟦Mark {place}⟧" for place in range(7))
"""What is said in the conversations that are rendered"""
TRIED: tuple[tuple[Speaker, ...], ...] = (
    ("user",),
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant", "user"),
)


@dataclass(frozen=True)
class Turns:
    """What stands around each turn. A user's turn ends where the answer begins."""

    opening: str
    """Before all, where no system turn comes first"""
    system: tuple[str, str] | None
    """None where the template takes no system turn"""
    user: tuple[str, str]
    answer: tuple[str, str]

    def written(self, conversation: Sequence[Message]) -> str:
        """The text from which a conversation is answered."""
        around = {"user": self.user, "assistant": self.answer, "system": self.system or ("", "")}
        opening = "" if conversation[0].role == "system" else self.opening
        turns = ((*around[turn.role], turn.content) for turn in conversation)
        return opening + "".join(f"{before}{content}{behind}" for before, behind, content in turns)


def turns_of(form: TextFormat) -> Turns | None:
    """What a tokenizer's chat template writes around turns; None where it does more than that.

    What tokenizers put in front of every text, such as bos, is left out in front: so do servers.
    """
    try:
        found = _asked(form)
        tried = [*map(_conversation, TRIED)]
        if found.system is not None:
            tried += [_conversation(("system", *speakers)) for speakers in TRIED]
        return found if all(found.written(one) == _text(form, one) for one in tried) else None
    except (ModelError, ValueError):  # it fails on plain questions, or writes what was said in another way
        return None


def _asked(form: TextFormat) -> Turns:
    """From two or three conversations. ValueError where a mark is not there as it was said."""
    opened, behind = _between(form, ("user",))
    _, before_answer, after_answer, _ = _between(form, ("user", "assistant", "user"))
    if not before_answer.startswith(behind):
        raise ValueError("an answer is asked for in another way than it is written")
    closing = _closing(form)
    if not after_answer.startswith(closing):
        closing = ""
    system = _around_system(form)
    before_user = _common_end(opened, after_answer.removeprefix(closing), *(system[1:] if system else ()))
    return Turns(
        opening=opened.removesuffix(before_user),
        system=system and (system[0], system[1].removesuffix(before_user)),
        user=(before_user, behind),
        answer=(before_answer.removeprefix(behind), after_answer.removesuffix(before_user)),
    )


def _closing(form: TextFormat) -> str:
    """What is written behind the last answer of a conversation."""
    asked = _conversation(("user",))
    return answered_text(form, asked, MARKS[1], prompt_text(form, asked)).rpartition(MARKS[1])[2]


def _around_system(form: TextFormat) -> tuple[str, str] | None:
    """What stands before a system turn, and between it and the user's; None where the template takes none."""
    try:
        before, behind, _ = _between(form, ("system", "user"))
    except (ModelError, ValueError):
        return None
    return before, behind


def _text(form: TextFormat, conversation: Sequence[Message]) -> str:
    return prompt_text(form, tuple(conversation)).removeprefix(decoded_prefix(form.tokenizer))


def _between(form: TextFormat, speakers: Sequence[Speaker]) -> list[str]:
    """What a rendered conversation has before, between and behind its marks."""
    text, pieces = _text(form, _conversation(speakers)), []
    for mark in MARKS[: len(speakers)]:
        piece, found, text = text.partition(mark)
        if not found:
            raise ValueError("a turn is not written")
        pieces.append(piece)
    return [*pieces, text]


def _conversation(speakers: Sequence[Speaker]) -> tuple[Message, ...]:
    return tuple(Message(speaker, mark) for speaker, mark in zip(speakers, MARKS, strict=False))


def _common_end(*texts: str) -> str:
    """The longest end that all have."""
    return "".join(reversed([*_alike(*(reversed(text) for text in texts))]))


def _alike(*texts: Iterator[str]) -> Iterator[str]:
    for signs in zip(*texts, strict=False):
        if len(set(signs)) > 1:
            return
        yield signs[0]
