"""An OpenAI-compatible server, asked many questions at once: a few attempts at each, with a wait that grows between.

The key is read from the environment as it is needed, goes into the header of a request, and is struck out of whatever
the server says before anybody sees it.
"""

import json
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from truing.config.judging import LlmJudge
from truing.core.errors import RewardError
from truing.core.text import in_one_line

FIRST_WAIT, LONGEST_WAIT = 0.5, 120.0
"""Seconds before the second attempt, each further one waits twice as long; and the longest that a server may ask for"""
GOLDEN = 0.618
"""Spreads the waits of neighbours, so that those which failed together do not come again together"""
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""What a server says that may do better the next time"""
MOST_BYTES = 1 << 24
"""Of an answer"""
SECRET = 8
"""Characters of the shortest key that is one; servers that ask for none are often given a word"""
SHOWN = 200
"""Characters of an answer that an error quotes"""

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Reply:
    """What a server said, and what that took."""

    text: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cut: bool
    """Whether it was cut off at `max_tokens`"""


@dataclass(frozen=True)
class NoReply:
    """Every attempt at a question failed, the last one so."""

    reason: str
    calls: int


class _FaultError(Exception):
    """An attempt failed, and another may not."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        self.reason = reason
        self.wait = wait
        """Seconds that the server asks for"""
        super().__init__(reason)


@dataclass(frozen=True)
class ChatServer:
    """Where it is and how it is asked; `name` is that of the judge in the recipe."""

    name: str
    settings: LlmJudge

    @property
    def place(self) -> str:
        """For errors."""
        return f"llm_judges.{self.name} ({self.settings.base_url})"

    def body(self, messages: Messages) -> dict[str, Any]:
        """All that an answer depends on, but for the server itself."""
        own = self.settings
        sampling = {"temperature": own.temperature, "max_tokens": own.max_tokens}
        return {"model": own.model, "messages": messages, **sampling}

    def replies(self, questions: Sequence[Messages]) -> Iterator[tuple[int, Reply | NoReply]]:
        """The number of each question with what became of it, as it comes.

        Raises:
            RewardError: the key is missing, or the server declines what it is asked, which no other attempt mends.
        """
        key, stop = self._key(), threading.Event()
        numbers, arrived = count(), queue.SimpleQueue[tuple[int, Reply | NoReply | BaseException]]()

        def work() -> None:
            while not stop.is_set() and (number := next(numbers)) < len(questions):
                wait = FIRST_WAIT * (1 + number * GOLDEN % 1)
                try:
                    arrived.put((number, self._asked(questions[number], key, stop, wait)))
                except BaseException as error:  # told to the process that waits
                    stop.set()
                    arrived.put((number, error))

        for _ in range(min(self.settings.concurrency, len(questions))):
            threading.Thread(target=work, daemon=True).start()  # one that waits for its answer holds up no exit
        try:
            for _ in questions:
                number, found = arrived.get()
                if isinstance(found, BaseException):
                    raise found
                yield number, found
        finally:
            stop.set()

    def _key(self) -> str | None:
        variable = self.settings.key_variable
        if variable is None:
            return None
        key = os.environ.get(variable, "").strip()
        if not key:
            what = f"asks with the key in {variable}, and the environment has none of that name."
            hint = f"Set it where truing runs: export {variable}=..."
            raise RewardError(what, code="rewards/no-key", where=self.place, hint=hint)
        if not (key.isascii() and key.isprintable()):
            what, hint = f"asks with the key in {variable}, which has characters of no key.", "Set it again."
            raise RewardError(what, code="rewards/no-such-key", where=self.place, hint=hint)
        return key

    def _asked(self, messages: Messages, key: str | None, stop: threading.Event, wait: float) -> Reply | NoReply:
        attempts, calls = self.settings.attempts, 0
        while True:
            calls += 1
            try:
                return self._attempt(messages, key, calls)
            except _FaultError as fault:
                pause = wait if fault.wait is None else fault.wait
                if calls == attempts or pause > LONGEST_WAIT or stop.wait(pause):
                    return NoReply(_without(key, fault.reason), calls)
                wait *= 2

    def _attempt(self, messages: Messages, key: str | None, calls: int) -> Reply:
        parts, seconds = urlsplit(self.settings.base_url), self.settings.seconds
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        path, deadline = f"{parts.path.rstrip('/')}/chat/completions", time.monotonic() + seconds
        try:
            with closing(kind(parts.netloc, timeout=seconds)) as connection:
                connection.request("POST", path, json.dumps(self.body(messages)), headers)
                response = connection.getresponse()
                text = _read(response, deadline)
        except TimeoutError as error:
            raise _FaultError(f"gave no answer within {seconds:g} s") from error
        except (OSError, HTTPException, ValueError) as error:  # the last for a name that is no host
            raise _FaultError(f"gave no answer ({in_one_line(str(error)) or type(error).__name__})") from error
        if response.status in AGAIN:
            said = f"answered {response.status}: {_message(text, key)}"
            raise _FaultError(said, _seconds_asked(response.getheader("Retry-After")))
        if response.status != 200:
            what = f"declines: {response.status}, {_message(text, key).rstrip('.')}."
            hint = f"Look at llm_judges.{self.name}: base_url, model and key_variable."
            raise RewardError(what, code="rewards/judge-declines", where=self.place, hint=hint)
        return _reply(text, calls, key)


def _read(response: Any, deadline: float) -> str:
    """The whole body; a server that sends it byte by byte has no more time for that than another."""
    parts: list[bytes] = []
    while part := response.read1(1 << 16):
        parts.append(part)
        if time.monotonic() > deadline:
            raise TimeoutError
        if sum(map(len, parts)) > MOST_BYTES:
            raise HTTPException("an answer without end")
    return b"".join(parts).decode(errors="replace")


def _reply(text: str, calls: int, key: str | None) -> Reply:
    """What a completion says. _FaultError where it is none: half of one, or another program's answer."""
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        content = choice["message"]["content"] or ""
        used = found.get("usage") or {}
        read, written = (int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        if not isinstance(content, str):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _FaultError(f"answered what is no completion: {_shown(text, key)!r}") from error
    return Reply(_without(key, content), calls, read, written, choice.get("finish_reason") == "length")


def _seconds_asked(header: str | None) -> float | None:
    """What Retry-After says, seconds or a date; None where it says nothing."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _message(text: str, key: str | None) -> str:
    """What the error of a server says."""
    try:
        found = json.loads(text)
        error = found.get("error", found)
        return _shown(str((error.get("message") or error.get("detail")) if isinstance(error, dict) else error), key)
    except (ValueError, AttributeError, RecursionError):
        return _shown(text, key)


def _shown(text: str, key: str | None) -> str:
    """The beginning, of what has no key any more: half of one that was cut would not be found."""
    return in_one_line(_without(key, text).strip())[:SHOWN]


def _without(key: str | None, text: str) -> str:
    """The text, with the key struck out: servers quote one that they do not know. A word like EMPTY is no secret."""
    return text.replace(key, "***") if key and len(key) >= SECRET else text
