"""The server as browsers ask it, and as nobody should."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from labelling.collecting import Asking, ask_all, for_first, pair, pairs, served, single, store_of
from labelling.hostile import HOSTILE, INVISIBLE

from truing.core.errors import InputError
from truing.labelling.people import new_link, revoke
from truing.labelling.places import put_items
from truing.labelling.serving import listen
from truing.labelling.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path, pairs(3))


@pytest.fixture
def anna(store: Store) -> Iterator[Asking]:
    """A labeller who has opened her link."""
    with served(store, "Prefer what is **right**. <script>1</script>") as url:
        yield entered(store, url, "Anna")


def entered(store: Store, url: str, name: str, role: Any = "labeller") -> Asking:
    asking = Asking(url)
    asking.enter(new_link(store.database, name, role))
    return asking


def test_a_link_becomes_a_cookie_that_no_script_and_no_other_site_has(store: Store) -> None:
    with served(store) as url:
        token = new_link(store.database, "Anna", "labeller")
        status, headers, text = Asking(url).send("GET", f"/?t={token}")
        assert (status, token in text) == (200, False)
        cookie = headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert url.rpartition(":")[2] in cookie.partition("=")[0]  # cookies go to every port of a host
        status, _, text = Asking(url).send("GET", "/?t=guessed")
        assert (status, "not good here" in text) == (401, True)
        status, _, text = Asking(url).send("GET", "/")
        assert (status, "Open the link" in text) == (401, True)


def test_an_item_is_shown_without_who_wrote_it_and_a_vote_brings_the_next(anna: Asking, store: Store) -> None:
    first = anna.get("/api/next")
    assert {*first["item"]} == {"assignment", "prompt", "answers", "is_again", "comment", "flagged"}
    assert not {"start", "policy"} & set(json.dumps(first).replace('"', " ").split())
    seven = {"assignment": first["item"]["assignment"], "kind": "vote", "value": 7, "seconds": 2.0}
    status, following = anna.post("/api/vote", **seven, comment="clear", flagged=True)
    assert status == 200
    assert following["item"]["assignment"] != first["item"]["assignment"]
    assert following["progress"] == {"own": 1, "done": 1, "total": 3, "seconds_left": 4.0}
    assert anna.get("/api/progress") == following["progress"]
    (kept,) = ask_all(store, "SELECT * FROM standing")
    assert (kept["value"], kept["comment"], kept["flagged"]) == (1 if kept["flipped"] else 7, "clear", 1)
    status, back = anna.post("/api/undo")
    assert back["item"] == first["item"] | {"is_again": True, "comment": "clear", "flagged": True}


def test_nothing_is_left_to_judge(anna: Asking) -> None:
    for _ in range(3):
        assignment = anna.get("/api/next")["item"]["assignment"]
        _, last = anna.post("/api/vote", assignment=assignment, kind="vote", value=4)
    assert last["item"] is None
    assert (last["progress"]["done"], last["progress"]["seconds_left"]) == (3, None)


def test_a_doubled_post_is_one_vote(anna: Asking, store: Store) -> None:
    assignment = anna.get("/api/next")["item"]["assignment"]
    vote = {"client": str(uuid4()), "assignment": assignment, "kind": "vote", "value": 2}
    assert [anna.post("/api/vote", **vote)[0] for _ in range(3)] == [200, 200, 200]
    assert len(ask_all(store, "SELECT 1 FROM votes")) == 1
    status, told = anna.post("/api/vote", assignment=assignment, kind="vote", value=3)
    assert (status, "already" in told["error"]) == (409, True)


def test_a_page_from_before_a_restart_goes_on_or_is_told_why_not(store: Store, tmp_path: Path) -> None:
    with served(store) as url:
        anna = entered(store, url, "Anna")
        first = anna.get("/api/next")["item"]["assignment"]
    again = store_of(tmp_path, [pair(7)])
    with served(again) as url:
        anna = entered(again, url, "Anna")
        status, told = anna.post("/api/vote", assignment=first, kind="vote", value=2)
        assert (status, "withdrawn" in told["error"]) == (410, True)
        assert anna.post("/api/vote", assignment=99, kind="vote", value=2)[0] == 404
        revoke(again.database, "Anna")
        assert anna.post("/api/vote", assignment=first, kind="vote", value=2)[0] == 401
        put_items(again.database, pairs(3), 1)
    assert ask_all(store_of(tmp_path, pairs(3)), "SELECT 1 FROM votes") == []


@pytest.mark.parametrize("host", ["elsewhere.invalid", "127.0.0.1", "127.0.0.1:1", "", "localhost.elsewhere.invalid"])
def test_a_name_that_was_pointed_here_is_refused(anna: Asking, host: str) -> None:
    for path in ("/", "/api/next", "/static/page.js"):
        status, _, text = anna.send("GET", path, host=host)
        assert (status, "name" in text) == (421, True)


def test_the_names_of_this_machine_are_its_own(anna: Asking) -> None:
    port = anna.url.rpartition(":")[2]
    assert anna.send("GET", "/", host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://elsewhere.invalid", "null", "https://127.0.0.1", None])
def test_forms_of_other_pages_are_refused(anna: Asking, store: Store, origin: str | None) -> None:
    vote = {
        "client": str(uuid4()),
        "assignment": anna.get("/api/next")["item"]["assignment"],
        "kind": "vote",
        "value": 2,
    }
    for path in ("/api/vote", "/api/undo", "/api/settle"):
        assert anna.send("POST", path, json.dumps(vote).encode(), origin=origin)[0] == 403
    assert anna.send("POST", "/api/vote", json.dumps(vote).encode(), content_type="text/plain")[0] == 415
    assert ask_all(store, "SELECT 1 FROM votes") == []


@pytest.mark.parametrize(
    "path",
    [
        "/../labels.db",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/..%5cserver.py",
        "//etc/passwd",
        "/static//etc/passwd",
        "/static/schema.sql",
        "/static/",
        "/labels.db",
        "/api",
    ],
)
def test_other_paths_are_nowhere(anna: Asking, path: str) -> None:
    assert anna.send("GET", path)[0] == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(anna: Asking, method: str) -> None:
    assert anna.send(method, "/api/vote")[0] == 405


def test_a_body_of_megabytes_is_refused_before_it_is_read(anna: Asking, store: Store) -> None:
    status, _, _ = anna.send("POST", "/api/vote", b" " * (64 * 1024 + 1))
    assert status == 413
    status, _, _ = anna.send("POST", "/api/vote", b" " * (64 * 1024))
    assert status == 422


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 30000,
        b'{"client": "x"}',
        b'{"client": "%s", "assignment": "1", "kind": "vote", "value": 2}' % b"a" * 36,
        b'{"assignment": 1, "kind": "vote", "value": 2}',
    ],
)
def test_what_no_page_sends_is_refused(anna: Asking, store: Store, body: bytes) -> None:
    for path in ("/api/vote", "/api/undo"):
        status, _, text = anna.send("POST", path, body)
        assert (status, "error" in json.loads(text)) == (422, True)


@pytest.mark.parametrize(
    "values",
    [
        {"assignment": 2**63},
        {"assignment": -1},
        {"value": 2.5},
        {"value": 9},
        {"value": "2"},
        {"value": True},
        {"kind": "undo"},
        {"kind": "skip"},
        {"kind": "both-bad", "value": 2**70},
        {"seconds": float("nan")},
        {"seconds": -1},
        {"comment": "\ud800"},
        {"comment": "x" * 4001},
        {"more": 1},
        {"client": "x" * 36},
    ],
)
def test_a_vote_with_what_it_cannot_have_is_refused(anna: Asking, store: Store, values: dict[str, Any]) -> None:
    assignment = anna.get("/api/next")["item"]["assignment"]
    status, told = anna.post("/api/vote", **{"assignment": assignment, "kind": "vote", "value": 2} | values)
    assert (status in (404, 422), "error" in told) == (True, True)
    assert ask_all(store, "SELECT 1 FROM votes") == []


def test_a_full_disk_is_told_and_the_vote_can_be_sent_again(anna: Asking, store: Store) -> None:
    assignment = anna.get("/api/next")["item"]["assignment"]
    vote = {"client": str(uuid4()), "assignment": assignment, "kind": "vote", "value": 2, "comment": "x" * 4000}
    (pages,) = ask_all(store, "PRAGMA page_count")
    ask_all(store, f"PRAGMA max_page_count = {pages['page_count']}")
    while (answer := anna.post("/api/vote", **vote))[0] == 200:  # until its last page is full
        vote = {"client": str(uuid4()), "assignment": answer[1]["item"]["assignment"]} | {
            name: vote[name] for name in ("kind", "value", "comment")
        }
    status, told = answer
    assert (status, "full" in told["error"]) == (507, True)
    ask_all(store, "PRAGMA max_page_count = 1000000")
    assert anna.post("/api/vote", **vote)[0] == 200


def test_the_policy_of_every_answer_lets_nothing_in(anna: Asking) -> None:
    for path in ("/", "/lead", "/static/page.js", "/api/next", "/nowhere", "/?t=x"):
        _, headers, _ = anna.send("GET", path)
        policy = headers["content-security-policy"].split(";")
        assert "default-src 'none'" in policy
        assert not any("unsafe" in part or "*" in part or "data:" in part for part in policy)
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    _, _, page = anna.send("GET", "/")
    assert page.count("<script") == page.count('<script src="/static/page.js"') == 1
    assert "&lt;script&gt;1&lt;/script&gt;" in page
    assert "<strong>right</strong>" in page


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    items = [replace(single(number), prompt=text) for number, text in enumerate(HOSTILE)]
    store = store_of(tmp_path, items, mode="rate")
    with served(store) as url:
        anna = entered(store, url, "Anna")
        for _ in HOSTILE:
            item = anna.get("/api/next")["item"]
            tags = {part.split(">")[0].split()[0].strip("/") for part in item["prompt"].split("<")[1:]}
            assert tags <= {"p", "code", "pre", "br"}, item["prompt"]
            assert not INVISIBLE & set(item["prompt"])
            anna.post("/api/vote", assignment=item["assignment"], kind="vote", value=4)


def test_hostile_names_are_text_or_refused(tmp_path: Path) -> None:
    """The lead's page has the elements that harmless names give it, and each person's own page its one script."""

    def tags(names: list[str], place: Path) -> Counter[str]:
        store = store_of(place, pairs(1))
        with served(store) as url:
            for name in names:
                _, _, own = entered(store, url, name).send("GET", "/")
                assert own.count("<script") == 1
            _, _, page = entered(store, url, "Chris", "lead").send("GET", "/lead")
        return Counter(re.findall(r"<[a-zA-Z!?/][^\s>]*", page))

    shown, refused = [], []
    for name in (text.strip()[:100] for text in HOSTILE):
        (shown if name.isprintable() else refused).append(name)
    assert min(len(shown), len(refused)) > 5
    places = [tmp_path / kind for kind in ("hostile", "harmless", "refused")]
    for place in places:
        place.mkdir()
    store = store_of(places[2], pairs(1))
    for name in refused:
        with pytest.raises(InputError):
            new_link(store.database, name, "labeller")
    assert tags(shown, places[0]) == tags([f"person {number}" for number in range(len(shown))], places[1])


def test_the_leads_page_is_the_leads_and_settles_what_is_in_dispute(tmp_path: Path) -> None:
    store = store_of(tmp_path, pairs(2), each=2)
    with served(store) as url:
        people = [entered(store, url, name) for name in ("Anna", "Ben")]
        for side, asking in zip((3, -3), people, strict=True):  # they disagree about both
            for _ in range(2):
                assignment = asking.get("/api/next")["item"]["assignment"]
                value = for_first(store, assignment, side)
                asking.post("/api/vote", assignment=assignment, kind="vote", value=value, comment="<b>so</b>\u202e")
        assert people[0].send("GET", "/lead")[0] == 403
        assert people[0].post("/api/settle", item=1, value=1)[0] == 403
        chris = entered(store, url, "Chris", "lead")
        status, _, page = chris.send("GET", "/lead")
        assert (status, page.count("Settle it:")) == (200, 2)
        assert "&lt;b&gt;so&lt;/b&gt;⟨U+202E⟩" in page
        assert chris.post("/api/settle", item=1, value=2)[0] == 200
        assert chris.post("/api/settle", item=9, value=2)[0] == 404
        _, _, page = chris.send("GET", "/lead")
        assert (page.count("Settle it:"), page.count("Settled:")) == (1, 1)


def test_a_page_that_was_left_open_on_other_labels_is_refused(anna: Asking, store: Store, tmp_path: Path) -> None:
    """Files number their items alike, and are served at the same address."""
    (tmp_path / "other").mkdir()
    other = store_of(tmp_path / "other", pairs(3)).database.name
    assignment = anna.get("/api/next")["item"]["assignment"]
    vote = json.dumps({"client": str(uuid4()), "assignment": assignment, "kind": "vote", "value": 2}).encode()
    for method, path, body in (("POST", "/api/vote", vote), ("GET", "/api/next", None)):
        status, _, text = anna.send(method, path, body, truing_labels=other)
        assert (status, "reload" in json.loads(text)["error"]) == (409, True)
    assert ask_all(store, "SELECT 1 FROM votes") == []
    assert anna.send("POST", "/api/vote", vote, truing_labels=store.database.name)[0] == 200


@pytest.mark.parametrize(
    ("host", "url", "has_people"),
    [("0.0.0.0", None, True), ("0.0.0.0", "https://labels.example.org", False), ("::", None, False)],
)
def test_an_address_that_is_open_to_others_wants_people_and_says_that_tls_belongs_in_front(
    host: str, url: str | None, has_people: bool
) -> None:
    with pytest.raises(InputError, match="TLS belongs in front") as refused:
        listen(host, 0, url, has_people)
    assert refused.value.code == "input/open-host"


def test_behind_a_proxy_its_name_is_the_only_one(tmp_path: Path) -> None:
    address = listen("127.0.0.1", 0, "https://Labels.example.org/", has_people=True)
    address.listening.close()
    assert address.origins == {"https://labels.example.org"}
    for bad in ("labels.example.org", "ftp://labels.example.org", "https://labels.example.org/page"):
        with pytest.raises(InputError) as refused:
            listen("127.0.0.1", 0, bad, has_people=True)
        assert refused.value.code == "input/bad-url"


def test_a_port_that_is_taken_is_told() -> None:
    address = listen("127.0.0.1", 0, None, has_people=False)
    with pytest.raises(InputError) as refused:
        listen("127.0.0.1", address.listening.getsockname()[1], None, has_people=False)
    address.listening.close()
    assert refused.value.code == "input/no-port"
