"""Text to tokens and back: the tokenizer's own chat template for conversations, a plain one where it has none.

The tokens of a prompt are those from which a model is later asked to go on; those of its completion are what follows
them in the tokens of the whole text. Only where a token of the whole stands across the seam are the two tokenised
apart, and then the rows that are so are told.

Plain text is tokenised as it is and joined without adding white space; bos stands in front where the tokenizer puts
it there by default. Special tokens are only those that the template writes: where a text spells one out, it is encoded
as ordinary text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from truing.core.errors import ModelError, first_line
from truing.core.records import Message, Text, Tokens
from truing.data.endings import Endings
from truing.data.templates import TemplateError, decoded, default_prefix, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ORDER_HINT = "Bring the rows into the order of turns that the model expects, or change its template."
TEMPLATE_HINT = (
    "The rows are not at fault: correct the template, which is in chat_template.jinja or tokenizer_config.json."
)
_STAND_IN = "\ufdd0{}\ufdd1"
"""Stands for a spelt-out special token while a template renders; made of code points that no text may use."""
_BEFORE = ("\n", "a", ".", " a")
"""Texts behind which another can be tokenised as one that goes on"""
CONTEXT = 16
"""Tokens of a prompt behind which its response is decoded"""


@dataclass(frozen=True)
class TextFormat:
    """How text becomes tokens for one base."""

    tokenizer: "PreTrainedTokenizerBase"
    endings: Endings
    today: date
    """What a chat template is told that asks for the date"""


def encode_prompt(form: TextFormat, prompt: Text) -> Tokens:
    """The tokens from which a model answers. ModelError where the chat template fails."""
    return _tokens(form.tokenizer, prompt_text(form, prompt), prompt)


def encode_completion(form: TextFormat, prompt: Text, completion: Text) -> Tokens:
    """The tokens that follow the prompt's, closing with a token that ends a response.

    Of a rendered conversation what the template writes behind that token (often a line break) is left out; a template
    that writes no such token gets one.

    Raises:
        ModelError: the chat template fails, or renders the prompt in another way once the answer is there.
    """
    tokens, written = _behind(form, prompt, completion), form.endings.written
    if isinstance(prompt, str) or not written:
        return tokens + form.endings.text
    if tokens[-len(written) :] == written:
        return tokens[: len(tokens) - len(written) + 1]
    ends = [place for place, token in enumerate(tokens) if token in form.endings.tokens]  # closed in another way
    return tokens[: ends[-1] + 1] if ends else tokens + form.endings.turn


def encode_answered(form: TextFormat, prompt: Text, response: str, finished: bool) -> Tokens:
    """Prompt and response as a reward model reads them; only one that is `finished` is closed. ModelError as above."""
    content = form.endings.content(encode_completion(form, prompt, response))
    chat = not isinstance(prompt, str)
    return encode_prompt(form, prompt) + (form.endings.closed(content, chat) if finished else content)


def decode_response(form: TextFormat, prompt: Tokens, response: Tokens, in_messages: bool) -> str:
    """The text of a response as it goes on from its prompt's, without the token that ends it and special ones.

    Of one that is `in_messages`, what the chat template writes around an answer is left out too, so that the template
    makes the same of the text again.
    """
    content, before = form.endings.content(response), prompt[-CONTEXT:]
    start, whole = (decoded(form.tokenizer, tokens) for tokens in (before, before + content))
    text = whole[len(start) :] if whole.startswith(start) else decoded(form.tokenizer, content)
    if not in_messages:
        return text
    opening = form.endings.before.rstrip(" ")
    text = text.removeprefix(opening).removesuffix(form.endings.after)
    for _ in form.endings.before.removeprefix(opening):  # a model may leave one out that a tokenizer writes
        text = text.removeprefix(" ")
    return text


def prompt_text(form: TextFormat, prompt: Text) -> str:
    """A prompt as its tokens say it: plain text as it is, a conversation as the template begins its answer."""
    return prompt if isinstance(prompt, str) else _render(form, prompt, add_generation_prompt=True)


def answered_text(form: TextFormat, prompt: Text, completion: Text, beginning: str) -> str:
    """The same with its completion. ModelError where the text has another `beginning`, which is the prompt's alone."""
    if isinstance(prompt, str):
        assert isinstance(completion, str), "a row is text throughout, or messages throughout"
        return prompt + completion
    answer = (Message("assistant", completion),) if isinstance(completion, str) else completion
    whole = _render(form, prompt + answer, add_generation_prompt=False)
    if not whole.startswith(beginning):
        raise ModelError(
            "the chat template renders a prompt in one way alone and in another with its answer, so a model could not "
            "be trained on what it is later asked.",
            code="model/template-changes-prompt",
            where=form.tokenizer.name_or_path,
            hint="Use a template whose generation prompt is the beginning of the assistant's turn.",
        )
    return whole


def as_spelt(form: TextFormat, text: str) -> str:
    """A text whose stand-ins are the special tokens again that messages spell out."""
    if _STAND_IN[0] not in text:
        return text
    for index, literal in enumerate(special_literals(form.tokenizer, len(form.tokenizer))):
        text = text.replace(_STAND_IN.format(index), literal)
    return text


def is_joined(form: TextFormat, prompt: Text, before: Tokens, whole: str) -> bool:
    """Whether the prompt's tokens are the first of those of the whole text, so that no token stands across the seam."""
    return _tokens(form.tokenizer, whole, prompt)[: len(before)] == before


def _behind(form: TextFormat, prompt: Text, completion: Text) -> Tokens:
    """The tokens that follow those of the prompt in the whole text, or else in a text of their own that goes on."""
    beginning = prompt_text(form, prompt)
    text = answered_text(form, prompt, completion, beginning)
    before, whole = (_tokens(form.tokenizer, part, prompt) for part in (beginning, text))
    if whole[: len(before)] == before:
        return whole[len(before) :]
    return _going_on(form.tokenizer, text.removeprefix(beginning), special=not isinstance(prompt, str))


def _tokens(tokenizer: "PreTrainedTokenizerBase", text: str, prompt: Text) -> Tokens:
    """Of plain text, with bos where it belongs; of a rendered conversation, whose special tokens are special."""
    if isinstance(prompt, str):
        return default_prefix(tokenizer) + _encode(tokenizer, text, special=False)
    literals = {_STAND_IN.format(i): literal for i, literal in enumerate(special_literals(tokenizer, len(tokenizer)))}
    tokens: Tokens = ()
    for piece in re.split(f"({_STAND_IN.format('[0-9]+')})", text):
        encode = _going_on if tokens else _encode
        tokens += encode(tokenizer, literals.get(piece, piece), special=piece not in literals) if piece else ()
    return tokens


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str, special: bool) -> Tokens:
    """Tokens of a text in which special tokens are `special`, or nothing is."""
    return tuple(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special, verbose=False))


def _going_on(tokenizer: "PreTrainedTokenizerBase", text: str, special: bool) -> Tokens:
    """Tokens of a text that goes on from another: without the space that some tokenizers put in front of a text."""
    for before in _BEFORE:
        known, whole = (_encode(tokenizer, part, special) for part in (before, before + text))
        if whole[: len(known)] == known:
            return whole[len(known) :]
    return _encode(tokenizer, text, special)


def _render(form: TextFormat, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """The template's text, with a stand-in for every special token that a message spells out."""
    literals = special_literals(form.tokenizer, len(form.tokenizer))
    turns = [{key: _with_stand_ins(value, literals) for key, value in message.turn.items()} for message in messages]
    try:
        return render(form.tokenizer, turns, form.today, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # a template is a program: it raises what it likes
        what = f"the chat template cannot render this conversation: {first_line(error)}."
        hint = TEMPLATE_HINT if isinstance(error, TemplateError) else ORDER_HINT
        raise ModelError(what, code="model/template-fails", where=form.tokenizer.name_or_path, hint=hint) from error


def _with_stand_ins(value: Any, literals: tuple[str, ...]) -> Any:
    """The same text, or the same value with all texts in it."""
    if isinstance(value, dict):
        return {key: _with_stand_ins(item, literals) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_stand_ins(item, literals) for item in value]
    if isinstance(value, str):
        for index, literal in enumerate(literals):
            value = value.replace(literal, _STAND_IN.format(index))
    return value


@lru_cache(maxsize=8)
def special_literals(tokenizer: "PreTrainedTokenizerBase", size: int) -> tuple[str, ...]:
    """How the special tokens are spelt, the longest first; `size` is in the key because tokens may be added."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted(added | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token)))
