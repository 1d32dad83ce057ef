"""A stand-in for a vLLM server: the same subset of its protocol, on truing's own sampler, in a thread of the test.

It may be told to be wrong in every way that a server was seen to be wrong.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import tiny
import torch

from truing.config.recipe import Recipe
from truing.core import rng
from truing.core.batches import Sequences
from truing.models.adapters import Adapters
from truing.models.roles import Role
from truing.models.scoring import response_logprobs
from truing.rollout.engine import Sampling
from truing.rollout.local import LocalEngine

WRONG = 0.5
"""Nats by which it is wrong where it is"""


class StandIn:
    """What a server has loaded and was asked for."""

    def __init__(self, recipe: Recipe, fault: str = "", after: int = 0) -> None:
        """Args:
        recipe: whose base it serves.
        fault: what is wrong with it.
        after: adapters that it loads before that.
        """
        self.base = tiny.load(recipe)
        self.adapters = Adapters(self.base.model, recipe.lora, recipe.seed, self.base.backend)
        self.roles: dict[str, Role] = {}
        self.places: dict[str, str] = {}
        self.loaded: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.answered = 0
        self.draws = {
            rng.derived_seed(recipe.seed, purpose, number): (recipe.seed, purpose, number)
            for purpose in ("rollout", "rollout, turn 2", "rollout, turn 3")
            for number in range(200)
        }
        self._fault, self._after = fault, after
        self._lock = threading.Lock()

    def has(self, fault: str) -> bool:
        return self._fault == fault and len(self.loaded) > self._after

    def models(self) -> list[dict[str, Any]]:
        reads = 8 if self._fault == "short" else 64
        served = [{"id": "base", "root": self.base.model.name_or_path, "parent": None, "max_model_len": reads}]
        return served + [
            {"id": name, "root": self.places[name], "parent": "base", "max_model_len": None} for name in self.roles
        ]

    def load(self, name: str, place: str) -> None:
        with self._lock:
            self.loaded.append(name)
            self.places[name] = place
            if self.has("stale"):
                self.roles[name] = self._before
            else:
                self.adapters.load(name, place)
                self.roles[name] = self.base.role(adapters=self.adapters, adapter=name)
            self._old, self._before = getattr(self, "_before", self.roles[name]), self.roles[name]

    def episode(self, asked: Mapping[str, Any]) -> int | None:
        """Whose response is asked for; None of a probe."""
        return self.draws[asked["seed"]][2] if "seed" in asked else None

    def complete(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """Its answer; None where it hangs up instead."""
        with self._lock, torch.no_grad():
            self.asked.append(dict(asked))
            role = self.roles[asked["model"]]
            return self._score(role, asked) if "prompt_logprobs" in asked else self._draw(role, asked)

    def _score(self, role: Role, asked: Mapping[str, Any]) -> dict[str, Any]:
        tokens = asked["prompt"]
        logprobs = self._logprobs(role, tokens[:1], tokens[1:], 1.0)
        given = [{str(token): {"logprob": one}} for token, one in zip(tokens[1:], logprobs, strict=True)]
        return {"choices": [{"token_ids": None, "prompt_logprobs": [None, *given]}]}

    def _draw(self, role: Role, asked: Mapping[str, Any]) -> dict[str, Any]:
        role = self._old if self.has("stale cache") else self._before if self.has("newest") else role
        sampling = Sampling(
            asked["max_tokens"], asked["temperature"], tuple(asked["stop_token_ids"]), pad=0, rows=1, pack=True
        )
        seed, purpose, number = self.draws.get(asked["seed"], (asked["seed"], "unknown", 0))
        (said,) = LocalEngine(role).generate([asked["prompt"]], [number], sampling, seed, purpose)
        tokens = said.tokens.tolist()
        logprobs = self._logprobs(role, asked["prompt"], tokens, 1.0 if self.has("raw") else asked["temperature"])
        tokens = tokens[: 1 if self.has("cut") else None]
        finish = "stop" if said.finished else "length"
        return {"choices": [{"token_ids": tokens, "logprobs": {"token_logprobs": logprobs}, "finish_reason": finish}]}

    def _logprobs(self, role: Role, prompt: list[int], said: list[int], temperature: float) -> list[float]:
        read = Sequences.collate([prompt], [said], pad=0)
        (found,) = response_logprobs(role, read, temperature).tolist()
        return [one - WRONG if self.has("wrong") else one for one in found]


@contextmanager
def serving(stand_in: StandIn) -> Iterator[str]:
    """Where it is served."""

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1  # head and body leave together, or each answer waits for an acknowledgement

        def do_GET(self) -> None:
            self._say(200, json.dumps({"data": stand_in.models()}) if self.path == "/v1/models" else "")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/load_lora_adapter":
                if stand_in._fault == "no adapters":
                    self._say(404, '{"detail": "Not Found"}')
                    return
                stand_in.load(body["lora_name"], body["lora_path"])
                self._say(200, "Success")
            elif self.path == "/v1/unload_lora_adapter":
                known = stand_in.roles.pop(body["lora_name"], None)
                self._say(200 if known else 404, "" if known else '{"error": {"message": "no such adapter"}}')
            else:
                self._complete(body)

        def _complete(self, body: dict[str, Any]) -> None:
            stand_in.answered += 1
            if stand_in.has("dead") or (stand_in.has("falters") and stand_in.answered % 7 == 0):
                self.close_connection = True  # as a process that was killed: nothing comes
            elif stand_in.has("broken") or (stand_in.has("breaks") and stand_in.answered % 5 == 0):
                self._say(500, '{"error": {"message": "engine died"}}')
            elif stand_in.has("garbage"):
                self._say(200, "<html>proxy</html>")
            elif stand_in.has("anew") and "prompt_logprobs" not in body:
                self._say(404, json.dumps({"error": {"message": f"The model {body['model']} does not exist."}}))
            else:
                time.sleep(2 if stand_in.has("slow") else 0)
                answer = stand_in.complete(body)
                self.close_connection = answer is None
                if answer is not None:
                    self._say(200, json.dumps(answer))

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    class Listening(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # five by default, and whoever comes sixth tries again a second later

    server = Listening(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
