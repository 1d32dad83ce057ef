"""Many people vote at once while the server of `truing label` is killed: what is kept, and how long an answer takes.

    python benchmarks/labelling/run.py [--people 50] [--votes 200] [--kills 5] [--pause 1.0]

Prints what docs/labelling.md has. A person judges `pause` seconds on the mean, and sends a vote until it is
acknowledged, as the page does.
"""

import argparse
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.tables import Target

LIMIT_MS = 50.0


class Server:
    """`truing label` in a process, killed and started again at the same address."""

    def __init__(self, file: Path, people: int) -> None:
        self.file = file
        names = [word for number in range(people) for word in ("--person", f"person {number}")]
        self.links = self._start("0", *names)
        self.url = self.links[0].partition("/?t=")[0]

    def kill_and_start(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._start(self.url.rpartition(":")[2])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _start(self, port: str, *more: str) -> list[str]:
        command = [sys.executable, "-m", "truing", "label", str(self.file), "--port", port, *more]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        links = []
        for line in self._process.stdout or ():
            if "Ctrl-C" in line:
                return links
            links += re.findall(r"http\S+", line)
        raise RuntimeError("the server did not start")


class Labeller:
    """One person, by the requests of the page."""

    def __init__(self, link: str, votes: int, pause: float) -> None:
        self.url, _, token = link.partition("/?t=")
        port = urlsplit(self.url).port
        self.headers = {
            "cookie": f"truing-label-{port}={token}",
            "origin": self.url,
            "content-type": "application/json",
        }
        self.votes, self.pause = votes, pause
        self.acknowledged: list[str] = []
        self.seconds: list[float] = []
        """Of each answer to a vote"""
        self.sent_again = 0
        self.connection: HTTPConnection | None = None

    def work(self) -> None:
        item = self.insist("GET", "/api/next", None)["item"]
        while item is not None and len(self.acknowledged) < self.votes:
            time.sleep(random.uniform(0, 2 * self.pause))
            vote = {
                "client": str(uuid4()),
                "assignment": item["assignment"],
                "kind": "vote",
                "value": random.randint(1, 7),
            }
            item = self.insist("POST", "/api/vote", vote)["item"]
            self.acknowledged.append(vote["client"])

    def insist(self, method: str, path: str, body: Any) -> Any:
        while True:
            begun = time.perf_counter()
            try:
                status, told = self.ask(method, path, body)
            except (OSError, HTTPException):
                self.connection = None
                self.sent_again += 1
                time.sleep(0.2)
                continue
            if status != 200:
                raise RuntimeError(f"{status}: {told!r}")
            if body is not None:
                self.seconds.append(time.perf_counter() - begun)
            return json.loads(told)

    def ask(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        self.connection = self.connection or HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--votes", type=int, default=200, help="of each")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between an item and its vote, on the mean")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        file = Path(place) / "answers.jsonl"
        rows = (
            {"prompt": f"prompt {n}", "answers": [f"a {n}", f"b {n}"]}
            for n in range(options.people * (options.votes + 1))
        )
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        server = Server(file, options.people)
        labellers = [Labeller(link, options.votes, options.pause) for link in server.links]
        begun = time.perf_counter()
        threads = [threading.Thread(target=one.work, daemon=True) for one in labellers]
        for thread in threads:
            thread.start()
        killed = 0
        while any(thread.is_alive() for thread in threads):
            done = sum(len(one.acknowledged) for one in labellers)
            if killed < options.kills and done > (killed + 1) * options.people * options.votes / (options.kills + 1):
                server.kill_and_start()
                killed += 1
            time.sleep(random.uniform(0.05, 0.3))
        server.stop()
        is_sound = tell(labellers, kept(file.with_suffix(".labels.db")), killed, time.perf_counter() - begun)
    sys.exit(not is_sound)


def kept(file: Path) -> list[tuple[str, int, int]]:
    """Client's id, item and person of each vote."""
    query = "SELECT client, item, person FROM votes JOIN assignments ON assignments.id = assignment"
    with sqlite3.connect(file) as sql:
        return sql.execute(query).fetchall()


def tell(labellers: list[Labeller], votes: list[tuple[str, int, int]], killed: int, seconds: float) -> bool:
    """Prints it. Returns whether no vote was lost or doubled, and no item went to two."""
    clients = Counter(client for client, _, _ in votes)
    acknowledged = [client for one in labellers for client in one.acknowledged]
    lost = sum(clients[client] == 0 for client in acknowledged)
    doubled = sum(count > 1 for count in clients.values()) + len(clients.keys() - set(acknowledged))
    shared = sum(count > 1 for count in Counter(item for _, item, _ in votes).values())
    times = sorted(1000 * one for labeller in labellers for one in labeller.seconds)
    print(f"{len(labellers)} people, {len(acknowledged)} votes in {seconds:.0f} s, {killed} kills")
    again = sum(one.sent_again for one in labellers)
    print(f"sent again {again} times; lost {lost}, doubled {doubled}, shared items {shared}")
    late = quantiles(times, n=100)[94]
    print(f"an answer takes {median(times):.1f} ms (median), {late:.1f} (95%), {times[-1]:.0f} (most)")
    tables.tell(
        [
            Target("votes lost, doubled or of an item that two were shown", 0, lost + doubled + shared, True, ""),
            Target("an answer, on the median", LIMIT_MS, median(times), True, " ms"),
        ]
    )
    return not (lost or doubled or shared)


if __name__ == "__main__":
    main()
