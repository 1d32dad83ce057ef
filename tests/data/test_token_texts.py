"""The texts of a response's tokens: they add up to it, and each stands where its token is."""

import pytest
import tiny
import tokenizer_shapes

from truing.data.chat import decode_response, encode_completion, encode_prompt
from truing.data.token_texts import token_texts

SHAPES = ("byte_bpe", "sentencepiece", "metaspace")
SAID = "The ferry leaves at nine, \u00e9t\u00e9 \U0001f6a2\U0001f6a2 and  back.\n\nFour oars"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("asked", ["Question: how many oars?", ""])
def test_they_add_up_to_the_response_and_a_letter_token_has_its_letters(shape: str, asked: str) -> None:
    form = tiny.text_format(getattr(tokenizer_shapes, shape)())
    prompt, tokens = encode_prompt(form, asked or "a"), encode_completion(form, asked or "a", SAID)
    response = decode_response(form, prompt, tokens, in_messages=False)
    texts = token_texts(form, prompt, tokens, response)
    assert len(texts) == len(tokens)
    assert "".join(texts) == response
    assert texts[-1] == "", "the token that ends it"
    for text, name in zip(texts, form.tokenizer.convert_ids_to_tokens(list(tokens)), strict=True):
        letters = name.strip("\u2581\u0120")  # the vocabulary's signs for a space
        assert not letters.isalpha() or not letters.isascii() or text.strip(" ") == letters


def test_a_character_of_several_tokens_is_the_last_ones_and_half_of_one_is_shown() -> None:
    form = tiny.text_format(tokenizer_shapes.byte_bpe())
    ship = tuple(form.tokenizer.encode("\U0001f6a2", add_special_tokens=False))
    assert len(ship) == 4
    assert token_texts(form, (), ship, "\U0001f6a2") == ["", "", "", "\U0001f6a2"]
    half = decode_response(form, (), ship[:2], in_messages=False)
    assert "".join(token_texts(form, (), ship[:2], half)) == half == "\ufffd"


@pytest.mark.parametrize("template", ["chatml", "mistral"])
def test_what_a_template_writes_around_an_answer_is_no_text_of_its_tokens(template: str) -> None:
    form = tiny.text_format(tokenizer_shapes.metaspace(template))
    prompt = tuple(form.tokenizer.encode("system user"))
    tokens = tuple(form.tokenizer.encode(" four oars", add_special_tokens=False)) + form.endings.turn
    response = decode_response(form, prompt, tokens, in_messages=True)
    texts = token_texts(form, prompt, tokens, response)
    assert ("".join(texts), len(texts)) == (response, len(tokens))


def test_a_text_that_is_not_the_tokens_has_none() -> None:
    form = tiny.text_format(tiny.tokenizer())
    assert token_texts(form, (), (0, 1), "ba") == []
