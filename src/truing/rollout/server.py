"""A server spoken to in JSON over HTTP: requests side by side, a few attempts at each, a sentence for each fault."""

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from truing.core.errors import EngineError
from truing.core.text import in_one_line

CONNECTS = 10.0
"""Seconds in which a machine that is there takes a connection"""
WAITS = (1.0, 2.0, 4.0)
"""Seconds before each further attempt"""
ATTEMPTS = len(WAITS) + 1
"""At a request, as a rule"""
SHOWN = 200
"""Characters of an answer that an error quotes"""
GOES_ON = "What is learnt so far is saved, and the same command goes on."

Body = Mapping[str, Any]


class RefusedError(EngineError):
    """The server has heard a request, and declines it or fails at it."""


class _Fault(HTTPException):
    """The server has failed at a request; it may do better the next time."""


@dataclass(frozen=True)
class Server:
    """Where it is, and how long to wait for it. What its verbs raise is an EngineError:

    no server is there, not even a little later; it is too slow; it declines or fails (RefusedError); its answer is no
    JSON.
    """

    url: str
    """Scheme, host and port"""
    seconds: float
    """Longest time for one answer"""

    def get(self, path: str, attempts: int = ATTEMPTS) -> Any:
        """What is at a path, as JSON."""
        return self._json(self._ask(path, None, attempts))

    def tell(self, path: str, body: Body, attempts: int = ATTEMPTS) -> None:
        """Has the server do something of which nothing but its success matters."""
        self._ask(path, body, attempts)

    def answers(self, path: str, bodies: Iterable[Body], together: int) -> Iterator[Any]:
        """The answers to many bodies, as JSON and in order; the server has at most so many of them at once.

        No threads: each request is sent before the answer to the first of those that are under way is waited for.
        """
        begun: deque[tuple[Body, HTTPConnection]] = deque()
        try:
            for body in bodies:
                begun.append((body, self._begun(path, body)))
                if len(begun) == together:
                    yield self._json(self._finished(path, *begun.popleft()))
            while begun:
                yield self._json(self._finished(path, *begun.popleft()))
        finally:
            for _, connection in begun:
                connection.close()

    def _ask(self, path: str, body: Body | None, attempts: int = ATTEMPTS) -> str:
        for wait in WAITS[: attempts - 1]:
            try:
                return self._attempt(path, body)
            except (OSError, HTTPException):
                time.sleep(wait)
        try:
            return self._attempt(path, body)
        except _Fault as fault:
            raise RefusedError(f"fails: {fault}.", code="engine/failed", where=self.url, hint=GOES_ON) from fault
        except (OSError, HTTPException) as error:
            what = f"gives no answer ({in_one_line(str(error)) or type(error).__name__})."
            raise EngineError(what, code="engine/no-server", where=self.url, hint=f"Start it. {GOES_ON}") from error

    def _attempt(self, path: str, body: Body | None) -> str:
        with closing(self._connection()) as connection:
            self._send(connection, path, body)
            return self._read(connection)

    def _begun(self, path: str, body: Body) -> HTTPConnection:
        """A request under way; one that could not be sent is noticed where it is finished."""
        connection = self._connection()
        try:
            self._send(connection, path, body)
        except (OSError, HTTPException):
            connection.close()
        return connection

    def _finished(self, path: str, body: Body, connection: HTTPConnection) -> str:
        """The answer to a request that was begun, which is made again where none comes."""
        with closing(connection):
            try:
                return self._read(connection)
            except (OSError, HTTPException):
                return self._ask(path, body)

    def _connection(self) -> HTTPConnection:
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return kind(parts.netloc, timeout=min(CONNECTS, self.seconds))

    def _send(self, connection: HTTPConnection, path: str, body: Body | None) -> None:
        connection.connect()
        connection.sock.settimeout(self.seconds)
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def _read(self, connection: HTTPConnection) -> str:
        try:
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except TimeoutError as error:
            what, hint = f"has not answered within {self.seconds:g} s.", f"Raise rollout.vllm.seconds. {GOES_ON}"
            raise EngineError(what, code="engine/timeout", where=self.url, hint=hint) from error
        if response.status >= 500:
            raise _Fault(_message(text).rstrip("."))
        if response.status >= 400:
            what = f"declines: {_message(text).rstrip('.')}."
            raise RefusedError(what, code="engine/refused", where=self.url, hint=GOES_ON)
        return text

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            what = f"answers what is no JSON: {_shown(text)!r}."
            hint = f"Look whether it is a vLLM server. {GOES_ON}"
            raise EngineError(what, code="engine/no-json", where=self.url, hint=hint) from error


def _message(text: str) -> str:
    """What an error of a vLLM server says."""
    try:
        found = json.loads(text)
        error = found.get("error", found)
        return _shown(str(error.get("message") or error.get("detail") or text))
    except (ValueError, AttributeError):
        return _shown(text)


def _shown(text: str) -> str:
    return in_one_line(text)[:SHOWN]
