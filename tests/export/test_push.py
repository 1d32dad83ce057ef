"""What is pushed is what was exported, in one commit to a private repository; the token goes to the Hub alone."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from huggingface_hub import constants

from truing.core.errors import RunError
from truing.export.push import push

TOKEN = "hf_" + "x" * 34
FILES = {"config.json": b"{}", "README.md": b"# Card\n", "adapter/adapter_config.json": b'{"r": 2}'}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a commit of small files asks for."""

    seen: ClassVar[list[tuple[str, str, bytes]]] = []
    refuses: ClassVar[bool] = False

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        self.seen.append((self.path, self.headers.get("Authorization") or "", body))
        if self.refuses:
            return self._answer(403, {"error": "You are not allowed to do that"})
        if self.path == "/api/repos/create":
            return self._answer(200, {"url": f"{self._home}/me/mine", "name": "me/mine", "id": "1"})
        if "/preupload/" in self.path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        if "/commit/" in self.path:
            return self._answer(200, {"commitUrl": f"{self._home}/me/mine/commit/1", "commitOid": "1", "success": True})
        return self._answer(200, {})

    def do_GET(self) -> None:
        self._answer(200, {"id": "me/mine", "sha": "0" * 40, "siblings": [], "private": True})

    @property
    def _home(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline() or b"0", 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        return whole

    def _answer(self, code: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(Hub, "seen", [])
    monkeypatch.setattr(Hub, "refuses", False)
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    return tmp_path / "out"


def test_all_files_are_pushed_to_a_private_repository_in_one_commit(hub: str, exported: Path) -> None:
    address = push(exported, "me/mine", hub)
    assert address.endswith("me/mine")
    assert TOKEN not in address
    by_path = {path: body for path, _, body in Hub.seen}
    made = json.loads(by_path["/api/repos/create"])
    assert (made["name"], made["organization"]) == ("mine", "me")
    assert made.get("private") or made.get("visibility") == "private"
    (commit,) = (body for path, _, body in Hub.seen if "/commit/" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"}
    assert sent == FILES
    assert {token for _, token, _ in Hub.seen} == {f"Bearer {TOKEN}"}
    assert not any(TOKEN.encode() in body for _, _, body in Hub.seen)
    assert not any(TOKEN in file.read_text() for file in exported.rglob("*") if file.is_file())


def test_a_refusal_is_told_with_what_to_do_and_without_the_token(hub: str, exported: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Hub, "refuses", True)
    with pytest.raises(RunError, match=r"me/mine.*hf auth login") as refused:
        push(exported, "me/mine", hub)
    assert refused.value.code == "run/not-pushed"
    assert TOKEN not in str(refused.value)


def test_a_hub_that_is_not_there_and_a_name_that_is_none_are_refused(hub: str, exported: Path) -> None:
    for repository, endpoint in (("me/mine", "http://127.0.0.1:9"), ("a name/of/three", hub)):
        with pytest.raises(RunError, check=lambda error: error.code == "run/not-pushed"):
            push(exported, repository, endpoint)
