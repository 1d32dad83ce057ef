"""Chat templates are programs that a model brings along: they render in a sandbox, and not for ever.

The sandbox is that of transformers (jinja2's immutable one): a template reaches the conversation and nothing else. A
render that takes longer than `SECONDS` is ended; powers are refused before, since the one of two large numbers is a
single step that nothing can end.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from truing.core.errors import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 10.0
OWN_FAULTS = (TemplateSyntaxError, SecurityError, MemoryError, RecursionError)
"""What a template is to blame for, whatever it is given"""


class TemplateError(Exception):
    """The template is no template, or did what it may not; the conversation is not to blame."""


def render(tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]], **options: Any) -> str:
    """The text that the tokenizer's chat template makes of a conversation.

    TemplateError where the template is at fault; over a conversation it raises what it likes.
    """
    templates = tokenizer.chat_template
    try:
        for template in templates.values() if isinstance(templates, dict) else [templates]:
            _refuse_powers(template or "")
        with _time_limit():
            return str(tokenizer.apply_chat_template(turns, tokenize=False, **options))
    except OWN_FAULTS as error:
        raise TemplateError(first_line(error)) from error


@lru_cache(maxsize=8)
def _refuse_powers(template: str) -> None:
    if any(kind == "operator" and text == "**" for _, kind, text in Environment().lex(template)):
        raise TemplateError("it raises to a power (**), which no sandbox can limit")


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
