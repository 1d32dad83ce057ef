import pytest

from truing.core.records import Message, Speaker
from truing.data.turns import Part, order_fault, shared_prompt, split_transcript

SPEAKERS: dict[str, Speaker] = {"s": "system", "u": "user", "a": "assistant"}


def turns(pattern: str) -> list[Message]:
    return [Message(SPEAKERS[letter], "x") for letter in pattern]


@pytest.mark.parametrize(
    ("part", "pattern"),
    [
        *(("prompt", pattern) for pattern in ("u", "su", "uau", "suauau")),
        *(("completion", pattern) for pattern in ("a", "aua", "auaua")),
        *(("conversation", pattern) for pattern in ("ua", "sua", "uaua", "suaua")),
    ],
)
def test_sound_orders(part: Part, pattern: str) -> None:
    assert order_fault(turns(pattern), part) is None


@pytest.mark.parametrize(
    ("part", "pattern", "index", "reason"),
    [
        ("prompt", "a", 0, "is the assistant's, but the user speaks first"),
        ("prompt", "sau", 1, "is the assistant's, but the user speaks first"),
        ("prompt", "ua", 1, "is the assistant's, but a prompt ends with the user's turn"),
        ("prompt", "uu", 1, "is the second user turn in a row"),
        ("prompt", "us", 1, "is a system turn, which may only open a conversation"),
        ("prompt", "ss", 1, "is a system turn, which may only open a conversation"),
        ("prompt", "s", 0, "is not followed by a user turn"),
        ("completion", "u", 0, "is the user's, but a completion is the assistant's"),
        ("completion", "s", 0, "is a system turn, which may only open a conversation"),
        ("completion", "aa", 1, "is the second assistant turn in a row"),
        ("completion", "au", 1, "is the last turn and not the assistant's"),
        ("conversation", "u", 0, "is the last turn and not the assistant's"),
        ("conversation", "a", 0, "is the assistant's, but the user speaks first"),
        ("conversation", "uua", 1, "is the second user turn in a row"),
        ("conversation", "uaa", 2, "is the second assistant turn in a row"),
        ("conversation", "usa", 1, "is a system turn, which may only open a conversation"),
    ],
)
def test_the_first_turn_that_stands_wrong_is_named(part: Part, pattern: str, index: int, reason: str) -> None:
    assert order_fault(turns(pattern), part) == (index, reason)


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("\n\nHuman: hi\n\nAssistant: ho", "conversation", [("user", "hi"), ("assistant", "ho")]),
        ("Human: hi\n\nAssistant:", "prompt", [("user", "hi")]),
        ("Human: hi\n\nAssistant:", "conversation", [("user", "hi"), ("assistant", "")]),
        ("Human: a\n\nb\n\nAssistant: c", "conversation", [("user", "a\n\nb"), ("assistant", "c")]),
        ("Human: a\n\nHuman: b\n\nAssistant: c", "conversation", [("user", "a\n\nb"), ("assistant", "c")]),
        (
            "Human: a Assistant: b\nHuman: c\n\nAssistant: d",
            "conversation",
            [("user", "a Assistant: b\nHuman: c"), ("assistant", "d")],
        ),
        (
            "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
            "prompt",
            [("user", "a"), ("assistant", "b"), ("user", "c")],
        ),
    ],
)
def test_transcripts_are_split_at_their_speakers(text: str, part: Part, expected: list[tuple[Speaker, str]]) -> None:
    assert [(message.role, message.content) for message in split_transcript(text, part)] == expected


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The film was great", "The film was bad", "The film was"),
        ("The film was great", "The film was green", "The film was"),
        ("one  two", "one  three", "one"),
        ("a b", "a b c", "a"),
        ("same", "other", ""),
        (" leading", " other", ""),
        ("great", "green", ""),
        ("Human: hi\n\nAssistant: yes", "Human: hi\n\nAssistant: no", "Human: hi\n\nAssistant:"),
        ("Human: hi\n\nAssistant: yes or", "Human: hi\n\nAssistant: yes and", "Human: hi\n\nAssistant:"),
        (
            "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: e",
            "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
        ),
    ],
)
def test_the_shared_beginning_ends_before_a_word(chosen: str, rejected: str, prompt: str) -> None:
    assert shared_prompt(chosen, rejected) == prompt
    assert shared_prompt(rejected, chosen) == prompt
