"""Conversations: which order of turns is sound, transcripts as conversations, and the prompt two answers share."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from truing.core.records import Message, Speaker

Part = Literal["prompt", "completion", "conversation"]
"""A prompt ends with the user, a completion is the assistant's beginning and end, a conversation is both together."""

ASSISTANT = "\n\nAssistant:"
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_SPEAKERS: dict[str, Speaker] = {"Human": "user", "Assistant": "assistant"}


def order_fault(messages: Sequence[Message], part: Part) -> tuple[int, str] | None:
    """The first turn that stands where it cannot, and why; None if the order is sound."""
    for index, message in enumerate(messages):
        if message.role == "system" and (index > 0 or part == "completion"):
            return index, "is a system turn, which may only open a conversation"
    spoken = [(index, message.role) for index, message in enumerate(messages) if message.role != "system"]
    if not spoken:
        return len(messages) - 1, "is not followed by a user turn"
    (first, opener), (last, closer) = spoken[0], spoken[-1]
    if part == "completion" and opener != "assistant":
        return first, "is the user's, but a completion is the assistant's"
    if part != "completion" and opener != "user":
        return first, "is the assistant's, but the user speaks first"
    for (_, before), (index, role) in pairwise(spoken):
        if before == role:
            return index, f"is the second {role} turn in a row"
    if part == "prompt" and closer != "user":
        return last, "is the assistant's, but a prompt ends with the user's turn"
    if part != "prompt" and closer != "assistant":
        return last, "is the last turn and not the assistant's"
    return None


def is_transcript(text: str) -> bool:
    r"""Whether the text has the shape '\n\nHuman: ...\n\nAssistant: ...'."""
    return text.lstrip().startswith("Human:")


def split_transcript(text: str, part: Part) -> tuple[Message, ...]:
    """A transcript as messages, without white space around the turns.

    A speaker who is named twice in a row goes on speaking (collected transcripts have this), and the bare
    'Assistant:' at the end of a prompt is the place for the answer, not a turn.
    """
    _, *pieces = _TURN.split(text)
    turns: list[tuple[Speaker, str]] = []
    for name, content in zip(pieces[::2], pieces[1::2], strict=True):
        speaker = _SPEAKERS[name]
        if turns and turns[-1][0] == speaker:
            turns[-1] = (speaker, f"{turns[-1][1]}\n\n{content.strip()}".strip())
        else:
            turns.append((speaker, content.strip()))
    if part == "prompt" and turns[-1] == ("assistant", ""):
        turns.pop()
    return tuple(Message(speaker, content) for speaker, content in turns)


def shared_prompt(chosen: str, rejected: str) -> str:
    """The beginning that two whole texts share, as the prompt of both; empty if there is none.

    Transcripts are cut after the last 'Assistant:' they share. Other text is cut before the white space that ends
    the last shared word, so that each completion begins with that white space.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = chosen[: next((index for index, (ours, theirs) in pairs if ours != theirs), len(rejected))]
    if is_transcript(shared) and ASSISTANT in shared:
        return shared[: shared.rindex(ASSISTANT) + len(ASSISTANT)]
    ends = [match.start() for match in re.finditer(r"\s+", shared)]
    return shared[: ends[-1]] if ends else ""
