"""A server of chat completions on loopback, which answers by a function and misbehaves as it is told."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str], str]


class LlmServer(ThreadingHTTPServer):
    """`misdeeds` are taken one a request, first come first served; then it answers as it should."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.misdeeds: list[str] = []
        self.asked: list[dict[str, Any]] = []
        """Every body that came"""
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.running = self.most = 0
        """Requests at once"""
        self.seconds = 0.0
        """That each answer takes"""
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up."""


@contextmanager
def serving(answer: Answer) -> Iterator[LlmServer]:
    """One that runs inside."""
    server = LlmServer(answer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str | None, reason: str = "stop") -> dict[str, Any]:
    """As OpenAI's API has it; a word is a token."""
    usage = {"prompt_tokens": 7, "completion_tokens": len((text or "").split())}
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    server: LlmServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.keys.append(self.headers["Authorization"])
            server.times.append(time.monotonic())
            server.running += 1
            server.most = max(server.most, server.running)
            misdeed = server.misdeeds.pop(0) if server.misdeeds else ""
        time.sleep(server.seconds)
        with server.lock:  # before the answer goes, upon which the next question may come
            server.running -= 1
        self._do(misdeed, body["messages"][-1]["content"])

    def _do(self, misdeed: str, asked: str) -> None:
        good = json.dumps(completion(self.server.answer(asked))).encode()
        kind, _, detail = misdeed.partition(" ")
        if kind == "slow":
            time.sleep(float(detail))
        if kind == "close":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "half":  # of what was announced
            self._say(200, good[: len(good) // 2], announced=len(good))
        elif kind == "torn":  # the announced length, and half a JSON
            self._say(200, good[: len(good) // 2])
        elif kind == "garbage":
            self._say(200, b"<html>\xff it works!</html>")
        elif kind == "other":
            self._say(200, detail.encode())
        elif kind.isdigit():
            headers = {"Retry-After": detail} if kind == "429" and detail else {}
            quoted = detail.replace("KEY", (self.headers["Authorization"] or "").removeprefix("Bearer "))
            self._say(int(kind), json.dumps({"error": {"message": quoted or "not now"}}).encode(), headers)
        else:
            self._say(200, good)

    def _say(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, announced: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)
        if announced is not None:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing."""
