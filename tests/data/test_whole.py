"""Prompt and completion are the tokens of the whole text: as the tokenizer and its own template write it."""

import json
from typing import Any

import pytest
import tiny
import tokenizer_shapes as shapes
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from truing.core.records import Message
from truing.data.chat import (
    decode_response,
    encode_answered,
    encode_completion,
    encode_prompt,
    write_answered,
    write_prompt,
)

QUESTION, ANSWER = "How many oars has the boat?", "Four oars.\n\nAnd one spare."
MADE = {(shape, name): make(name) for shape, make in shapes.SHAPES.items() for name in (None, *shapes.TEMPLATES)}
SHAPE = pytest.mark.parametrize("shape", shapes.SHAPES)
TEMPLATE = pytest.mark.parametrize("template", shapes.TEMPLATES)


def turns(*contents: str) -> tuple[Message, ...]:
    return tuple(Message("assistant" if index % 2 else "user", text) for index, text in enumerate(contents))


@SHAPE
@TEMPLATE
def test_a_conversation_is_learnt_as_the_template_writes_it(shape: str, template: str) -> None:
    words = MADE[shape, template]
    declared = [words.convert_tokens_to_ids(["</s>", "<|end|>"])]  # as a model of two ends says in its config
    form = tiny.text_format(words, declared)
    for said in ((QUESTION, ANSWER), ("Hi", "Ho", QUESTION, ANSWER)):
        messages = [message.turn for message in turns(*said)]
        whole = words.apply_chat_template(messages, tokenize=True, return_dict=False)
        prompt, completion = turns(*said)[:-1], turns(*said)[-1:]
        ours = encode_prompt(form, prompt) + encode_completion(form, prompt, completion)
        assert list(ours) == whole[: len(ours)]
        assert words.decode(ours[-1:]) == shapes.CLOSINGS[template][0]
        answer = decode_response(form, encode_prompt(form, prompt), ours[len(encode_prompt(form, prompt)) :], True)
        assert answer == said[-1]
        assert list(encode_answered(form, prompt, ANSWER, finished=True)) == whole
        assert encode_answered(form, prompt, ANSWER, finished=False) == ours[:-1]


@SHAPE
@TEMPLATE
def test_a_conversation_is_asked_as_the_template_begins_its_answer(shape: str, template: str) -> None:
    words = MADE[shape, template]
    asked = words.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=True, return_dict=False, add_generation_prompt=True
    )
    assert list(encode_prompt(tiny.text_format(words), turns(QUESTION))) == asked


@SHAPE
@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("Question: how many? Answer:", " four oars"), ("Write:\n", "Sure, the boat."), ("First we count", ", then go.")],
)
def test_plain_text_is_learnt_as_it_stands(shape: str, prompt: str, completion: str) -> None:
    words = MADE[shape, None]
    form = tiny.text_format(words)
    ours = encode_prompt(form, prompt) + encode_completion(form, prompt, completion)
    assert list(ours) == [*words.encode(prompt + completion, add_special_tokens=False), words.eos_token_id]
    assert write_prompt(form, prompt).is_joined(write_answered(form, prompt, completion, prompt))
    tokens = encode_prompt(form, prompt), encode_completion(form, prompt, completion)
    assert decode_response(form, *tokens, in_messages=False) == completion


@SHAPE
def test_text_goes_on_without_a_space_of_its_own_where_a_token_stands_across_the_seam(shape: str) -> None:
    words = MADE[shape, None]
    form = tiny.text_format(words)
    assert not write_prompt(form, "count the she").is_joined(
        write_answered(form, "count the she", "ep", "count the she")
    )
    behind = encode_completion(form, "count the she", "ep")
    assert words.decode(list(behind[:-1])) == "ep"
    assert all(not token.startswith(("▁", "Ġ")) for token in words.convert_ids_to_tokens(list(behind[:-1])))


PIECES = st.lists(st.sampled_from(["the", " ", "\n", "oars", "Ho", "é", "世", ".", "<s>", "<|im_end|>"]), min_size=1)


@SHAPE
@given(prompt=PIECES.map("".join), completion=PIECES.map("".join))
def test_any_text_comes_back_from_the_tokens_of_prompt_and_completion(shape: str, prompt: str, completion: str) -> None:
    words = MADE[shape, None]
    form = tiny.text_format(words)
    tokens = encode_prompt(form, prompt) + form.endings.content(encode_completion(form, prompt, completion))
    whole = words.decode(words.encode(prompt + completion, add_special_tokens=False, split_special_tokens=True))
    assert words.decode(list(tokens)) == whole


UNUSUAL = {
    "before": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "after": "{% for m in messages %}{{ m.role }}: {{ m.content }} <|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "inner": "{% for m in messages %}{{ m.thought or '' }}{{ '<|im_end|>' if m.thought }}{{ m.content }}"
    "<|im_end|>\n{% endfor %}",
}
"""Templates that write something between prompt and answer, behind the answer, and an end within it"""


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_a_template_writes_around_an_answer_is_learnt_and_no_part_of_its_text(name: str) -> None:
    words: Any = shapes.byte_bpe()
    words.chat_template = UNUSUAL[name]
    form = tiny.text_format(words)
    prompt, completion = turns(QUESTION), (Message("assistant", ANSWER, json.dumps({"thought": "so"})),)
    whole = words.apply_chat_template([prompt[0].turn, completion[0].turn], tokenize=False)
    tokens = encode_prompt(form, prompt), encode_completion(form, prompt, completion)
    assert words.decode(list(sum(tokens, ()))) == whole.removesuffix("\n")
    if name != "inner":
        assert decode_response(form, *tokens, in_messages=True) == ANSWER


@SHAPE
def test_an_answer_right_behind_a_special_token_comes_back_without_a_space_of_the_tokenizers(shape: str) -> None:
    words: Any = shapes.SHAPES[shape]()
    words.chat_template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
    form = tiny.text_format(words)
    for answer in (ANSWER, " " + ANSWER):
        prompt, completion = turns(QUESTION), (Message("assistant", answer),)
        tokens = encode_prompt(form, prompt), encode_completion(form, prompt, completion)
        assert decode_response(form, *tokens, in_messages=True) == answer


def test_a_response_is_decoded_as_it_stands_whatever_the_tokenizer_calls_tidy() -> None:
    words: Any = shapes.byte_bpe()
    words.clean_up_tokenization_spaces = True
    words.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    assert words.decode(words.encode("four , oars")) == "four, oars"
    form = tiny.text_format(words)
    tokens = encode_prompt(form, "Count :"), encode_completion(form, "Count :", " four , oars do n't .")
    assert decode_response(form, *tokens, in_messages=False) == " four , oars do n't ."


def test_plain_text_begins_with_all_that_the_tokenizer_puts_in_front() -> None:
    words: Any = shapes.byte_bpe()
    front = [(token, words.convert_tokens_to_ids(token)) for token in ("<|user|>", "<s>")]
    words._tokenizer.post_processor = TemplateProcessing(single="<|user|> <s> $A", special_tokens=front)
    assert list(encode_prompt(tiny.text_format(words), "as")) == words.encode("as")
    assert len(words.encode("as")) > 2


def test_a_template_that_asks_for_the_date_is_told_that_of_the_recipe() -> None:
    words: Any = shapes.byte_bpe()
    words.chat_template = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert words.decode(list(encode_prompt(tiny.text_format(words), turns("?")))) == "01 Jan 2026?"
