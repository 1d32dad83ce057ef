"""Expected tokens are written by hand: one token a character, and the special tokens where the template puts them."""

import string
from typing import Any

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from tiny import EOS, tokenizer
from transformers import PreTrainedTokenizerFast

from truing.core.errors import ModelError
from truing.core.records import Message, Text, Tokens
from truing.data import chat

PAD = "<|pad|>"
CHATML = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def plain() -> PreTrainedTokenizerFast:
    return tokenizer(letters=string.printable)


def templated(template: str = CHATML) -> PreTrainedTokenizerFast:
    made = plain()
    made.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    made.chat_template = template
    return made


PLAIN, CHAT = plain(), templated()


def spelt(made: PreTrainedTokenizerFast, *parts: str | int) -> tuple[int, ...]:
    """The tokens of text, one a character, and of special tokens, given by number."""
    characters = [[part] if isinstance(part, int) else made.convert_tokens_to_ids(list(part)) for part in parts]
    return tuple(token for part in characters for token in part)


def turns(*contents: str) -> tuple[Message, ...]:
    """User and assistant in turn."""
    return tuple(Message(("user", "assistant")[index % 2], content) for index, content in enumerate(contents))  # type: ignore[arg-type]


def encode_prompt(made: PreTrainedTokenizerFast, prompt: Text) -> Tokens:
    return chat.encode_prompt(tiny.text_format(made), prompt)


def encode_completion(made: PreTrainedTokenizerFast, prompt: Text, completion: Text) -> Tokens:
    return chat.encode_completion(tiny.text_format(made), prompt, completion)


def special(made: PreTrainedTokenizerFast, name: str) -> int:
    number = made.convert_tokens_to_ids(name)
    assert isinstance(number, int)
    return number


def test_plain_text_is_tokenised_as_it_is_and_closes_with_eos() -> None:
    end = special(PLAIN, EOS)
    assert encode_prompt(PLAIN, "The film ") == spelt(PLAIN, "The film ")
    assert encode_completion(PLAIN, "The film ", " was\n") == spelt(PLAIN, " was\n", end)


def test_bos_stands_in_front_of_a_prompt_where_the_tokenizer_puts_it(with_bos: PreTrainedTokenizerFast) -> None:
    bos, end = special(with_bos, "<s>"), special(with_bos, EOS)
    assert encode_prompt(with_bos, "ab") == spelt(with_bos, bos, "ab")
    assert encode_prompt(with_bos, turns("a")) == spelt(with_bos, bos, "User: a\n\nAssistant:")
    assert encode_completion(with_bos, "ab", "c") == spelt(with_bos, "c", end)


def test_a_conversation_without_a_template_is_written_out() -> None:
    prompt = (Message("system", "s"), *turns("a", "b", "c"))
    written = "System: s\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nAssistant:"
    assert encode_prompt(PLAIN, prompt) == spelt(PLAIN, written)
    answer = (Message("assistant", "d"),)
    assert encode_completion(PLAIN, prompt, answer) == spelt(PLAIN, " d", special(PLAIN, EOS))


def test_a_template_writes_its_special_tokens_and_nothing_after_eos() -> None:
    turn, end = special(CHAT, "<|turn|>"), special(CHAT, EOS)
    beginning = spelt(CHAT, turn, "user\nhi", end, "\n", turn, "assistant\n")
    assert encode_prompt(CHAT, turns("hi")) == beginning
    for answer in ("ho", (Message("assistant", "ho"),)):
        assert encode_completion(CHAT, turns("hi"), answer) == spelt(CHAT, "ho", end)


TEXT = st.text(string.printable, min_size=1)


@given(TEXT, TEXT)
def test_prompt_and_completion_are_the_tokens_of_the_whole_conversation(question: str, answer: str) -> None:
    whole = CHAT.apply_chat_template([vars(turn) for turn in turns(question, answer)], tokenize=True, return_dict=False)
    parts = encode_prompt(CHAT, turns(question)) + encode_completion(CHAT, turns(question), answer)
    assert list(parts) == whole[:-1]
    assert whole[-1:] == list(spelt(CHAT, "\n"))


SPELT_OUT = st.lists(st.sampled_from([EOS, PAD, "<|turn|>", "<|", "|>", "a", "\n"]), min_size=1).map("".join)


@pytest.mark.parametrize("made", [PLAIN, CHAT], ids=["plain", "template"])
@given(text=SPELT_OUT, chat=st.booleans())
def test_special_tokens_that_a_text_spells_out_are_plain_text(
    made: PreTrainedTokenizerFast, text: str, chat: bool
) -> None:
    turn, end = special(CHAT, "<|turn|>"), special(made, EOS)
    prompt: Text = turns(text) if chat else text
    if not chat:
        expected: tuple[Any, ...] = spelt(made, text), spelt(made, text, end)
    elif made is PLAIN:
        expected = spelt(made, f"User: {text}\n\nAssistant:"), spelt(made, f" {text}", end)
    else:
        expected = spelt(made, turn, f"user\n{text}", end, "\n", turn, "assistant\n"), spelt(made, text, end)
    assert (encode_prompt(made, prompt), encode_completion(made, prompt, text)) == expected


@pytest.mark.parametrize("closing", ["", "\n", "<|end|>", "<|end|>\n", "<|end|><|end|>", "<|end|>more"])
def test_a_completion_closes_with_one_eos_whatever_the_template_writes(closing: str) -> None:
    made = templated(
        "{% for m in messages %}{% if m.role == 'user' %}user:{{ m.content }}|"
        f"{{% else %}}assistant:{{{{ m.content + {closing!r} }}}}{{% endif %}}{{% endfor %}}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    end = special(made, EOS)
    tail = closing.partition("<|end|>")[0]
    assert encode_prompt(made, turns("a")) == spelt(made, "user:a|assistant:")
    assert encode_completion(made, turns("a"), "b") == spelt(made, f"b{tail}", end)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no system turns') }}",
        "{{ messages[7].content }}",
        "{% for %}",
        "{{ messages[0].content.nothing() }}",
    ],
)
def test_a_template_that_fails_is_named(template: str) -> None:
    with pytest.raises(ModelError, match="the chat template cannot render this conversation: ") as caught:
        encode_prompt(templated(template), turns("a"))
    assert caught.value.hint


def test_of_a_templates_own_message_the_first_line_is_told_as_it_can_be_printed() -> None:
    said = "\\x1b[31mno\\x07 system turns " + "!" * 5000 + "\\nsecond line"
    with pytest.raises(ModelError) as caught:
        encode_prompt(templated(f"{{{{ raise_exception('{said}') }}}}"), turns("a"))
    told = (r"\x1b[31mno\x07 system turns " + "!" * 5000)[:200]
    assert caught.value.what == f"the chat template cannot render this conversation: {told}."


ORDER, TEMPLATE = "Bring the rows into the order of turns", "The rows are not at fault: correct the template"


@pytest.mark.parametrize(
    ("template", "hint"),
    [
        ("{{ raise_exception('no system turns') }}", ORDER),
        ("{{ messages[7].content }}", ORDER),
        ("{% for %}", TEMPLATE),
        ("{{ 'open", TEMPLATE),
        ("{{ 2**2 }}", TEMPLATE),
        ("{{ messages.append(1) }}", TEMPLATE),
        ("{{ ''.__class__.__base__.x }}", TEMPLATE),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", TEMPLATE),
    ],
)
def test_the_mend_is_of_the_rows_or_of_the_template(template: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        encode_prompt(templated(template), turns("a"))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)


def test_a_template_that_wants_more_memory_than_there_is_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    made = templated()
    monkeypatch.setattr(made, "apply_chat_template", fail)
    with pytest.raises(ModelError, match=r"cannot render this conversation: MemoryError\. The rows are not at fault"):
        encode_prompt(made, turns("a"))


def test_a_template_that_writes_the_prompt_otherwise_once_it_is_answered_is_refused() -> None:
    template = "{{ messages | length }}:{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ModelError, check=lambda error: error.code == "model/template-changes-prompt"):
        encode_completion(templated(template), turns("a"), "b")


@pytest.mark.parametrize("prompt", ["hi", turns("hi")])
def test_a_response_that_was_decoded_is_encoded_as_it_was(prompt: Text) -> None:
    in_messages = not isinstance(prompt, str)
    form = tiny.text_format(CHAT if in_messages else PLAIN)
    tokens = chat.encode_completion(form, prompt, " yes, no")
    text = chat.decode_response(form, chat.encode_prompt(form, prompt), tokens, in_messages)
    assert text == " yes, no"
    assert chat.encode_response(form, text, in_messages) == tokens
