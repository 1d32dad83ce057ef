"""What every request has to pass: from this address, from this page, and short. Written against ASGI alone."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_BODY = 64 * 1024
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guarded:
    """An application behind the checks that hold for all of its routes."""

    def __init__(self, app: App, origins: set[str]) -> None:
        """Args:
        app: what is asked once a request has passed.
        origins: where the page may be from, such as http://127.0.0.1:8765.
        """
        self._app = app
        self._origins = origins
        self._hosts = {urlsplit(origin).netloc for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return  # no other kind is asked for
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}
        body = await _read(receive) if scope["method"] == "POST" else b""  # first: who still sends hears no answer
        refusal = self._refusal(scope, headers, body)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self._app(scope, _once(body), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str], body: bytes) -> tuple[int, str] | None:
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "That cannot be asked here."
        if headers.get("host", "").lower() not in self._hosts:  # else another site's name could point at this server
            return 421, "This server does not go by that name; open the link that was printed."
        if scope["method"] != "POST":
            return None
        if headers.get("origin") not in self._origins:  # else any page in the same browser could vote
            return 403, "This was sent from another page; open the link that was printed."
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "Votes are sent as JSON."
        if len(body) > LONGEST_BODY:
            return 413, "That is longer than anything this page sends."
        return None


async def _read(receive: Receive) -> bytes:
    """The body, or as much of it as shows that it is too long."""
    body, goes_on = b"", True
    while goes_on and len(body) <= LONGEST_BODY:
        message = await receive()
        body += message.get("body", b"")
        goes_on = message.get("more_body", False)
    return body


def _once(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _with_headers(send: Send) -> Send:
    more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, text: str) -> None:
    kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await _with_headers(send)({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": text.encode()})
