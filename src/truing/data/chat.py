"""Text to tokens: the tokenizer's own chat template for conversations, a plain one where it has none.

A prompt and its completion are tokenised apart, so that sampling starts from exactly the tokens that were trained on.

Plain text is tokenised as it is and joined without adding white space; bos stands in front where the tokenizer puts
it there by default. A conversation without a chat template becomes

    System: ...

    User: ...

    Assistant: ...

where a prompt ends with 'Assistant:' and a completion begins with the space after it. Special tokens are only those
that the template writes: where a text spells one out, it is encoded as ordinary text.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from truing.core.errors import ModelError, first_line
from truing.core.records import Message, Text
from truing.data.templates import TemplateError, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}
ORDER_HINT = "Bring the rows into the order of turns that the model expects, or change its template."
TEMPLATE_HINT = (
    "The rows are not at fault: correct the template, which is in chat_template.jinja or tokenizer_config.json."
)
_STAND_IN = "\ufdd0{}\ufdd1"
"""Stands for a spelt-out special token while a template renders; made of code points that no text may use."""


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: Text) -> tuple[int, ...]:
    """The tokens from which a model answers. ModelError where the chat template fails."""
    if isinstance(prompt, str):
        return _bos(tokenizer) + _plain_tokens(tokenizer, prompt)
    if not tokenizer.chat_template:
        return _bos(tokenizer) + _plain_tokens(tokenizer, _plain_chat(prompt) + "\n\nAssistant:")
    return _rendered_tokens(tokenizer, _render(tokenizer, prompt, add_generation_prompt=True))


def encode_completion(tokenizer: "PreTrainedTokenizerBase", prompt: Text, completion: Text) -> tuple[int, ...]:
    """The tokens that follow the prompt's, closing with exactly one eos.

    Of a rendered conversation everything after the first eos is left out (templates write a line break there); a
    template that writes none gets one. ModelError where the chat template fails, where it renders the prompt in another
    way once the answer is there, and where the tokenizer has no eos.
    """
    eos = tokenizer.eos_token_id
    if not isinstance(eos, int):
        what = "the tokenizer has no eos token."
        raise ModelError(what, code="model/no-eos", where=tokenizer.name_or_path, hint="Give it one.")
    if isinstance(prompt, str):
        return (*_plain_tokens(tokenizer, _content(completion)), eos)
    if not tokenizer.chat_template:
        return (*_plain_tokens(tokenizer, f" {_content(completion)}"), eos)
    answer = (Message("assistant", completion),) if isinstance(completion, str) else completion
    beginning = _render(tokenizer, prompt, add_generation_prompt=True)
    whole = _render(tokenizer, prompt + answer, add_generation_prompt=False)
    if not whole.startswith(beginning):
        raise ModelError(
            "the chat template renders a prompt in one way alone and in another with its answer, so a model could not "
            "be trained on what it is later asked.",
            code="model/template-changes-prompt",
            where=tokenizer.name_or_path,
            hint="Use a template whose generation prompt is the beginning of the assistant's turn.",
        )
    tokens = _rendered_tokens(tokenizer, whole.removeprefix(beginning))
    end = tokens.index(eos) if eos in tokens else len(tokens)
    return (*tokens[:end], eos)


def encode_conversation(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> tuple[int, ...]:
    """The tokens of a whole conversation, as the template or the plain form writes it. ModelError as above."""
    if not tokenizer.chat_template:
        return _bos(tokenizer) + _plain_tokens(tokenizer, _plain_chat(messages))
    return _rendered_tokens(tokenizer, _render(tokenizer, messages, add_generation_prompt=False))


def _content(text: Text) -> str:
    return text if isinstance(text, str) else "\n\n".join(message.content for message in text)


def _plain_chat(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"{_NAMES[message.role]}: {message.content}" for message in messages)


def _render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], add_generation_prompt: bool) -> str:
    """The template's text, with a stand-in for every special token that a message spells out."""
    literals = _special_literals(tokenizer, len(tokenizer))
    turns = [{"role": message.role, "content": _with_stand_ins(message.content, literals)} for message in messages]
    try:
        return render(tokenizer, turns, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # a template is a program: it raises what it likes
        what = f"the chat template cannot render this conversation: {first_line(error)}."
        hint = TEMPLATE_HINT if isinstance(error, TemplateError) else ORDER_HINT
        raise ModelError(what, code="model/template-fails", where=tokenizer.name_or_path, hint=hint) from error


def _with_stand_ins(text: str, literals: tuple[str, ...]) -> str:
    for index, literal in enumerate(literals):
        text = text.replace(literal, _STAND_IN.format(index))
    return text


def _rendered_tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """Tokens of rendered text: the template's special tokens as such, those that a message spells out as text."""
    literals = {_STAND_IN.format(i): literal for i, literal in enumerate(_special_literals(tokenizer, len(tokenizer)))}
    tokens: list[int] = []
    for piece in re.split(f"({_STAND_IN.format('[0-9]+')})", text):
        if piece in literals:
            tokens.extend(_plain_tokens(tokenizer, literals[piece]))
        elif piece:
            tokens.extend(tokenizer.encode(piece, add_special_tokens=False, verbose=False))
    return tuple(tokens)


def _plain_tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """Tokens of a text in which nothing is special."""
    return tuple(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False))


def _bos(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """bos, if the tokenizer puts it in front of a text by default."""
    bos = tokenizer.bos_token_id
    return (bos,) if isinstance(bos, int) and tokenizer.encode("a")[:1] == [bos] else ()


@lru_cache(maxsize=8)
def _special_literals(tokenizer: "PreTrainedTokenizerBase", size: int) -> tuple[str, ...]:
    """How the special tokens are spelt, the longest first; `size` is in the key because tokens may be added."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted(added | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token)))
