"""Items, a store of them, a server on this machine, and who asks it as a browser does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from truing.labelling.collection import begin
from truing.labelling.items import Item, Mode
from truing.labelling.people import Role, new_link
from truing.labelling.places import put_items
from truing.labelling.serving import listen, server_of
from truing.labelling.store import Store, Vote


def pair(number: int, **more: Any) -> Item:
    return Item(f"prompt {number}", (f"first {number}", f"second {number}"), ("start", "policy"), **more)


def pairs(count: int) -> list[Item]:
    return [pair(number) for number in range(count)]


def single(number: int, **more: Any) -> Item:
    return Item(f"prompt {number}", (f"answer {number}",), ("policy",), **more)


def store_of(place: Path, items: list[Item], each: int = 1, mode: Mode = "pairs") -> Store:
    store = begin(place / "labels.db", mode)
    put_items(store.database, items, each)
    return store


def person(store: Store, name: str, role: Role = "labeller") -> int:
    new_link(store.database, name, role)
    with store.database.reading() as sql:
        return int(sql.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()["id"])


def a_vote(assignment: int, value: int | None = 2, kind: str = "vote", **more: Any) -> Vote:
    return Vote(str(uuid4()), assignment, kind, value, **more)


def ask_all(store: Store, query: str) -> list[Any]:
    with store.database.reading() as sql:
        return [dict(row) for row in sql.execute(query)]


def for_first(store: Store, assignment: int, steps: int) -> int:
    """The key that says so many steps for the first answer, on whichever side that stands."""
    (row,) = ask_all(store, f"SELECT flipped FROM assignments WHERE id = {assignment}")
    return 4 + steps if row["flipped"] else 4 - steps


@dataclass
class Asking:
    """A browser with its cookie."""

    url: str
    cookie: str = ""
    """`name=token`"""

    def enter(self, token: str) -> None:
        status, headers, _ = self.send("GET", f"/?t={token}")
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of the answer; `headers` beside those of the page, None for one that is left out."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        given: dict[str, str | None] = {"cookie": self.cookie}
        if method == "POST":
            given |= {"origin": self.url, "content-type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {name: value for name, value in given.items() if value is not None})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, _, text = self.send("GET", path)
        assert status == 200, text
        return json.loads(text)

    def post(self, path: str, **values: Any) -> tuple[int, Any]:
        """Status and JSON of the answer; each is a new vote, unless a `client` is given."""
        status, _, text = self.send("POST", path, json.dumps({"client": str(uuid4())} | values).encode())
        return status, json.loads(text) if text.startswith("{") else text


@contextmanager
def served(store: Store, guidelines: str = "", port: int = 0) -> Iterator[str]:
    """The address of a server in a thread of this process."""
    address = listen("127.0.0.1", port, None, has_people=True)
    server = server_of(store, guidelines, address)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.listening]})
    thread.start()
    try:
        yield address.url
    finally:
        server.should_exit = True
        thread.join(20)
        store.database.close()
