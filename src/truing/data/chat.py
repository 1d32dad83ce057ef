"""Text to tokens and back: the tokenizer's own chat template for conversations, a plain one where it has none.

The tokens of a prompt are those from which a model is later asked to go on; those of its completion are what follows
them in the tokens of the whole text. Only where a token of the whole stands across the seam are the two tokenised
apart, and then the rows that are so are told.

Plain text is tokenised as it is and joined without adding white space; bos stands in front where the tokenizer puts
it there by default. Special tokens are only those that the template writes: where a text spells one out, it is encoded
as ordinary text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from truing.core.errors import ModelError, first_line
from truing.core.records import Message, Text, Tokens
from truing.data.endings import Endings
from truing.data.stand_ins import StandIns
from truing.data.templates import TemplateError, decoded, default_prefix, encoded, render
from truing.data.tool_calls import CALLING, CallForm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ORDER_HINT = (
    "Bring the rows into the order of turns that the model expects, or change its template. "
    "Where it takes no system turn, put that text in front of the user's; where it wants tools, give it data.tools."
)
TEMPLATE_HINT = (
    "The rows are not at fault: correct the template, which is in chat_template.jinja or tokenizer_config.json."
)
_BEFORE = ("\n", "a", ".", " a")
"""Texts behind which another can be tokenised as one that goes on"""
CONTEXT = 16
"""Tokens of a prompt behind which its response is decoded"""


@dataclass(frozen=True)
class TextFormat:
    """How text becomes tokens for one base, to whose tokenizer nothing is added any more."""

    tokenizer: "PreTrainedTokenizerBase"
    endings: Endings
    today: date
    """What a chat template is told that asks for the date"""
    tools: str = "[]"
    """Schemas of the tools that it shows, as JSON"""

    @cached_property
    def stand_ins(self) -> StandIns:
        """Of its special tokens."""
        return StandIns.of(self.tokenizer)

    @cached_property
    def shows_tools(self) -> bool:
        """Whether its chat template makes anything of them."""
        asked = [{"role": "user", "content": "a"}]
        try:
            with_tools, without = (
                render(self.tokenizer, asked, self.today, add_generation_prompt=True, **tools)
                for tools in ({"tools": json.loads(self.tools)}, dict[str, Any]())
            )
        except Exception:  # a template is a program: rows fail on it too, and are told
            return True
        return with_tools != without

    @cached_property
    def call_form(self) -> CallForm | None:
        """How its chat template writes a call of a tool; None where it writes none that can be read."""
        asked, tools = [{"role": "user", "content": "a"}], {"tools": json.loads(self.tools) or None}
        try:
            beginning = render(self.tokenizer, asked, self.today, add_generation_prompt=True, **tools)
            whole = render(
                self.tokenizer,
                [*asked, {"role": "assistant", "content": "", **CALLING}],
                self.today,
                add_generation_prompt=False,
                **tools,
            )
        except Exception:  # a template is a program: one that knows of no tools raises what it likes
            return None
        answer = whole.removeprefix(beginning).removeprefix(self.endings.before)  # in which a policy may say more
        return CallForm.of(answer) if whole.startswith(beginning) else None


@dataclass(frozen=True)
class Written:
    """A text as it is tokenised, and its tokens: made once for all that is asked of them."""

    text: str
    tokens: Tokens
    chat: bool
    """Whether a chat template wrote it"""

    def is_joined(self, whole: "Written") -> bool:
        """Whether its tokens are the first of those of the `whole` text, so that none stands across the seam."""
        return whole.tokens[: len(self.tokens)] == self.tokens


def encode_prompt(form: TextFormat, prompt: Text) -> Tokens:
    """The tokens from which a model answers. ModelError where the chat template fails."""
    return write_prompt(form, prompt).tokens


def encode_completion(form: TextFormat, prompt: Text, completion: Text) -> Tokens:
    """The tokens that follow the prompt's, closing with a token that ends a response.

    Raises:
        ModelError: the chat template fails, or renders the prompt in another way once the answer is there.
    """
    beginning = write_prompt(form, prompt)
    return completion_tokens(form, beginning, write_answered(form, prompt, completion, beginning.text))


def write_prompt(form: TextFormat, prompt: Text) -> Written:
    """A prompt. ModelError where the chat template fails."""
    text, chat = prompt_text(form, prompt), not isinstance(prompt, str)
    return Written(text, _tokens(form, text, chat), chat)


def write_answered(form: TextFormat, prompt: Text, completion: Text, beginning: str) -> Written:
    """A prompt, whose text alone is `beginning`, with its completion. ModelError as `answered_text`."""
    text, chat = answered_text(form, prompt, completion, beginning), not isinstance(prompt, str)
    return Written(text, _tokens(form, text, chat), chat)


def write_turns(form: TextFormat, messages: Sequence[Message], add_generation_prompt: bool) -> Tokens:
    """The tokens of a conversation as the template writes it. ModelError where the template fails."""
    return _tokens(form, _render(form, messages, add_generation_prompt), chat=True)


def goes_on_with(form: TextFormat, text: str) -> Tokens:
    """The tokens of plain text that goes on from another."""
    return _going_on(form.tokenizer, text, special=False)


def completion_tokens(form: TextFormat, beginning: Written, whole: Written) -> Tokens:
    """The tokens of a whole text behind those of its prompt, closing with a token that ends a response.

    Of a rendered conversation what the template writes behind that token (often a line break) is left out; a template
    that writes no such token gets one.
    """
    tokens, written = _behind(form, beginning, whole), form.endings.written
    if not whole.chat or not written:
        return tokens + form.endings.text
    if tokens[-len(written) :] == written:
        return tokens[: len(tokens) - len(written) + 1]
    ends = [place for place, token in enumerate(tokens) if token in form.endings.tokens]  # closed in another way
    return tokens[: ends[-1] + 1] if ends else tokens + form.endings.turn


def encode_answered(form: TextFormat, prompt: Text, response: Text, finished: bool) -> Tokens:
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


def encode_response(form: TextFormat, response: str, in_messages: bool) -> Tokens:
    """The tokens of a text as a response that has ended, to whatever prompt: what `decode_response` made a text of."""
    endings = form.endings
    text = endings.before + response + endings.after if in_messages else response
    return _going_on(form.tokenizer, text, special=False) + (endings.turn if in_messages else endings.text)


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


def _behind(form: TextFormat, beginning: Written, whole: Written) -> Tokens:
    """The tokens that follow those of the prompt in the whole text, or else in a text of their own that goes on."""
    if beginning.is_joined(whole):
        return whole.tokens[len(beginning.tokens) :]
    return _going_on(form.tokenizer, whole.text.removeprefix(beginning.text), special=whole.chat)


def _tokens(form: TextFormat, text: str, chat: bool) -> Tokens:
    """Of plain text, with bos where it belongs; of a rendered conversation, whose special tokens are special."""
    if not chat:
        return default_prefix(form.tokenizer) + encoded(form.tokenizer, text, special=False)
    tokens: Tokens = ()
    for piece, spelt in form.stand_ins.pieces(text):
        encode = _going_on if tokens else encoded
        tokens += encode(form.tokenizer, piece, special=not spelt)
    return tokens


def _going_on(tokenizer: "PreTrainedTokenizerBase", text: str, special: bool) -> Tokens:
    """Tokens of a text that goes on from another: without the space that some tokenizers put in front of a text."""
    for before in _BEFORE:
        known, whole = (encoded(tokenizer, part, special) for part in (before, before + text))
        if whole[: len(known)] == known:
            return whole[len(known) :]
    return encoded(tokenizer, text, special)


def _render(form: TextFormat, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """The template's text, with a stand-in for every special token that a message spells out."""
    turns = [form.stand_ins.put_into(message.turn) for message in messages]
    options = {"tools": tools} if (tools := json.loads(form.tools)) else {}
    try:
        return render(form.tokenizer, turns, form.today, add_generation_prompt=add_generation_prompt, **options)
    except Exception as error:  # a template is a program: it raises what it likes
        what = f"the chat template cannot render this conversation: {first_line(error)}."
        hint = TEMPLATE_HINT if isinstance(error, TemplateError) else ORDER_HINT
        raise ModelError(what, code="model/template-fails", where=form.tokenizer.name_or_path, hint=hint) from error
