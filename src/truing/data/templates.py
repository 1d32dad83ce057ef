"""Chat templates are programs that a model brings along: they render in a sandbox, and not for ever.

The sandbox is that of transformers (jinja2's immutable one): a template reaches the conversation and nothing else. A
render that takes longer than `SECONDS` is ended; powers are refused before, since the one of two large numbers is a
single step that nothing can end.
"""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date, datetime, time
from functools import lru_cache
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from jinja2 import Environment, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from truing.core.errors import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 10.0
ANY_DATE = date(2026, 1, 1)
"""For a rendering whose date does not matter"""
PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}"
    "{% if add_generation_prompt or not loop.last %}{{ '\\n\\n' }}"
    "{% elif message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""How a conversation is written for a tokenizer without a chat template: 'User: ...', blank line, 'Assistant: ...'"""
OWN_FAULTS = (TemplateSyntaxError, SecurityError, MemoryError, RecursionError)
"""What a template is to blame for, whatever it is given"""


class TemplateError(Exception):
    """The template is no template, or did what it may not; the conversation is not to blame."""


def render(
    tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Mapping[str, Any]], today: date, **options: Any
) -> str:
    """The text that the tokenizer's chat template, or else the plain one, makes of a conversation.

    The template is told that it is `today`. TemplateError where the template is at fault; over a conversation it raises
    what it likes.
    """
    templates = chat_template(tokenizer)
    try:
        for template in templates.values() if isinstance(templates, dict) else [templates]:
            _refuse_powers(template)
        if isinstance(templates, dict):
            _refuse_nameless(templates, bool(options.get("tools")))
        options |= {} if tokenizer.chat_template else {"chat_template": templates}
        with _time_limit(), _told(today) if asks_for_the_date(tokenizer) else nullcontext():
            return str(tokenizer.apply_chat_template([dict(turn) for turn in turns], tokenize=False, **options))
    except OWN_FAULTS as error:
        raise TemplateError(first_line(error)) from error


def chat_template(tokenizer: "PreTrainedTokenizerBase") -> Any:
    """The tokenizer's own chat template, or the plain one; several by name where it has several."""
    return tokenizer.chat_template or (
        "".join(tokenizer.convert_ids_to_tokens(list(default_prefix(tokenizer)))) + PLAIN
    )


def asks_for_the_date(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether its chat template does."""
    return "strftime_now" in str(tokenizer.chat_template)


def encoded(tokenizer: "PreTrainedTokenizerBase", text: str, special: bool) -> tuple[int, ...]:
    """Tokens of a text in which special tokens are `special`, or nothing is, whatever the tokenizer's own settings."""
    return tuple(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special, verbose=False))


def decoded(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[int], special: bool = False) -> str:
    """The text of tokens as it stands, with `special` ones or without; no library's idea of tidy spaces."""
    options = {"skip_special_tokens": not special, "clean_up_tokenization_spaces": False}
    return str(tokenizer.decode(list(tokens), **options))


@lru_cache(maxsize=8)
def default_prefix(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """The tokens that the tokenizer puts in front of a text by default: bos with most, none or several with others."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    starts = (start for start in range(len(whole)) if whole[start : start + len(bare)] == bare)
    return tuple(whole[: next(starts, 0)])


@lru_cache(maxsize=8)
def decoded_prefix(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The same as text."""
    return decoded(tokenizer, default_prefix(tokenizer), special=True)


@lru_cache(maxsize=8)
def _refuse_powers(template: str) -> None:
    if any(kind == "operator" and text == "**" for _, kind, text in Environment().lex(template)):
        raise TemplateError("it raises to a power (**), which no sandbox can limit")


def _refuse_nameless(templates: Mapping[str, str], with_tools: bool) -> None:
    """The library takes the one called default, or for tools the one of that name."""
    if "default" not in templates and not (with_tools and "tool_use" in templates):
        raise TemplateError(f"there are several ({', '.join(templates)}), and none is called default")


def _told(today: date) -> AbstractContextManager[Any]:
    """Inside, templates that ask for the date are told this one: the library gives them its clock's, and no choice."""
    clock = SimpleNamespace(now=lambda: datetime.combine(today, time()))
    return patch("transformers.utils.chat_template_utils.datetime", clock)


@contextmanager
def _time_limit() -> Iterator[None]:
    """TemplateError in the block once it has taken too long; only the main thread can be told so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise TemplateError(f"it took more than {SECONDS:g} seconds")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
