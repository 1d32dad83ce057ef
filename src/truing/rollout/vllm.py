"""The policy on a vLLM server: an adapter that the server is given anew before each update, and is proved to have.

The server has an environment of its own and is spoken to over HTTP. The learner reads again what it has drawn, and
learns from its own log-probabilities; the server's say how far the two computations of one policy are apart. Where it
may draw while the learner learns, it keeps earlier adapters as long as one of them draws, and what they have drawn is
held against them, not against the policy as it is by then.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import torch
from torch import Tensor

from truing.config.sections import Vllm
from truing.core import rng
from truing.core.batches import Sequences
from truing.core.errors import EngineError
from truing.models.roles import Role
from truing.models.save import save_adapter
from truing.models.scoring import forward_in_micro_batches, response_logprobs
from truing.processes import group
from truing.rollout.completions import COMPLETIONS, draw_request, drawn, score_request, scored
from truing.rollout.engine import Completion, Drawing, Sampling
from truing.rollout.server import RefusedError, Server
from truing.runs.files import complete_directory, remove

T = TypeVar("T")
Weights = Mapping[str, Tensor]
Drawn = list[tuple[list[int], list[float]]]
"""The tokens of each response, and the server's log-probability of each"""

LAST_WORD = 2.0
"""Seconds that a server has to let go of its last adapters: whoever ends may be in a hurry"""
NEARER = 0.5
"""Share of the distance to the weights that are wanted: who is nearer than that to others does not have the wanted"""


@dataclass
class VllmEngine:
    """A role's adapter on a server that serves the same base."""

    role: Role
    server: Server
    settings: Vllm
    name: str
    """How the names of its adapters begin, which the server has never heard"""
    place: Path
    """Where adapters are saved, for the server to load"""
    probe: Sequences
    """Texts whose log-probabilities tell weights apart"""
    score_tokens: int
    """In one forward of the learner"""
    how_to_start: str
    """The server that is wanted"""
    max_staleness: int = 0
    """How many earlier adapters may still be drawing"""
    behaviour: Role | None = None
    """The role as it was when it began to draw, where it may have changed since"""
    version: int = 0
    """Of the weights that the server was given last"""
    weights: Weights = field(default_factory=dict)
    """These, where the learner may go on before they have drawn all that they are to draw"""
    probe_before: Tensor | None = None
    """(N,) log-probabilities of the probe's responses by the weights of the version before"""
    _ended: Event = field(default_factory=Event)

    @torch.no_grad()
    def sync(self, weights: Weights | None = None) -> dict[str, float]:
        """See `Engine`. The server has a new adapter, and those no more that have drawn all they were to draw."""
        begun = time.perf_counter()
        role = self.role if weights is None else self._as_it_was(weights)
        self.version += 1
        self.weights = role.weights() if self.behaviour else {}
        whole = role.whole_adapter()
        given = torch.tensor(group.broadcast(lambda: self._hand_over(role, whole)))
        own = self._logprobs(role, self.probe, temperature=1.0)[self.probe.response_mask]
        mismatch = self._proved(given, own.cpu())
        return {"sync_mismatch": mismatch, "sync_s": time.perf_counter() - begun}

    def begin(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> Drawing:
        """See `Engine`. The server draws while this process does something else, which may be to have more drawn."""
        version, weights = self.version, self.weights
        seeds = [rng.derived_seed(seed, purpose, number) for number in ids]
        name = self._adapter(version)
        waited_for = in_background(lambda: self._drawn(name, prompts, seeds, sampling)) if group.is_owner() else None

        def completions() -> list[Completion]:
            answers = group.broadcast(lambda: waited_for.result() if waited_for else [])
            return self._read(prompts, answers, sampling, None if version == self.version else weights)

        return Drawing(completions, weights)

    def end(self) -> None:
        """The server lets go of all adapters, if it still listens. No exchange: others may have failed by now."""
        self._ended.set()
        if group.is_owner():
            last = range(self.version - self.max_staleness, self.version + 1)
            self.server = replace(self.server, seconds=min(LAST_WORD / len(last), self.server.seconds))
            for version in last:
                self._let_go(self._adapter(version), attempts=1)

    @torch.no_grad()
    def _read(
        self, prompts: Sequence[Sequence[int]], answers: Drawn, sampling: Sampling, earlier: Weights | None
    ) -> list[Completion]:
        """What was drawn by the role as it is, or by `earlier` weights of it, with the learner's log-probabilities."""
        read = Sequences.collate(prompts, [tokens for tokens, _ in answers], sampling.pad)
        own = self._logprobs(self.role, read, sampling.temperature)
        drew = own
        if earlier is not None:
            drew = self._logprobs(self._as_it_was(earlier), read, sampling.temperature)
        completions = [
            Completion(
                tokens=torch.tensor(tokens),
                logprobs=own[row, : len(tokens)],
                finished=tokens[-1] in sampling.ends,
                engine_logprobs=torch.tensor(given, device=own.device),
                drawn_logprobs=drew[row, : len(tokens)] if self.behaviour else None,
            )
            for row, (tokens, given) in enumerate(answers)
        ]
        given = torch.cat([torch.tensor(given, device=own.device) for _, given in answers])
        mask = read.response_mask.to(own.device)
        self._refuse_other_logprobs(given, drew[mask], None if earlier is None else own[mask])
        return completions

    def _as_it_was(self, weights: Weights) -> Role:
        assert self.behaviour is not None
        self.behaviour.put(weights)
        return self.behaviour

    def _hand_over(self, role: Role, weights: dict[str, Tensor] | None) -> list[float]:
        """Has the server load a role's adapter; its log-probabilities of the probe's responses, one after the other.

        The adapter has a new name each time: what a server keeps of the prompts that it has read goes by the name.
        """
        name = self._adapter(self.version)
        with complete_directory(self.place / name) as directory:
            save_adapter(role, directory, whole=weights)
        try:
            self.server.tell("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(self.place / name)})
        except RefusedError as error:
            what = f"takes no adapter, it {error.what}"
            raise EngineError(what, code="engine/no-adapter", where=self.server.url, hint=self.how_to_start) from error
        self._let_go(self._adapter(self.version - 1 - self.max_staleness))
        prompts, said = self.probe.prompts, self.probe.responses
        texts = [[*prompt, *response] for prompt, response in zip(prompts, said, strict=True)]
        answers = self.server.answers(COMPLETIONS, [score_request(name, text) for text in texts], len(texts))
        found = zip(answers, texts, map(len, said), strict=True)
        return [one for answer, text, last in found for one in scored(answer, text, last, self.server.url)]

    def _let_go(self, name: str, attempts: int = 2) -> None:
        """Takes an adapter off the server and off the disk; one that is not there, or no longer, is none."""
        if not (self.place / name).exists():
            return
        with suppress(EngineError):
            self.server.tell("/v1/unload_lora_adapter", {"lora_name": name}, attempts)
        remove(self.place / name)

    def _drawn(self, name: str, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling) -> Drawn:
        """The server's answers, by an adapter; once this engine has ended it asks for no more, since none is read."""
        asked = (one for one in zip(prompts, seeds, strict=True) if not self._ended.is_set())
        requests = (draw_request(name, *one, sampling) for one in asked)
        answers = self.server.answers(COMPLETIONS, requests, sampling.rows)
        return [drawn(answer, sampling, self.server.url) for answer in answers]

    def _logprobs(self, role: Role, sequences: Sequences, temperature: float) -> Tensor:
        """(B, R) log π(token) by the learner, nats."""
        (found,) = forward_in_micro_batches(
            role, sequences, self.score_tokens, lambda rows, _: (response_logprobs(role, rows, temperature),)
        )
        return found

    def _adapter(self, version: int) -> str:
        return f"{self.name}-{version}"

    def _proved(self, given: Tensor, own: Tensor) -> float:
        """Mean |Δ log probability| of the probe, (N,) each, nats: EngineError unless the server has the new weights."""
        before, self.probe_before = self.probe_before, own
        mismatch = _distance(given, own)
        if before is not None and _distance(given, before) < NEARER * mismatch:
            what = (
                f"still has the weights from before the last update: its log-probabilities of the probe are "
                f"{_distance(given, before):.2g} nats a token from those, and {mismatch:.2g} from the new ones."
            )
            hint = f"Start it anew. Nothing was learnt from it, and the same command goes on. {self.how_to_start}"
            raise EngineError(what, code="engine/stale", where=self.server.url, hint=hint)
        if mismatch > self.settings.largest_mismatch:
            what = f"computes another policy than the learner: log-probabilities of the probe {self._apart(mismatch)}."
            raise EngineError(what, code="engine/other-policy", where=self.server.url, hint=self.how_to_start)
        return mismatch

    def _refuse_other_logprobs(self, given: Tensor, drew: Tensor, newer: Tensor | None) -> None:
        """EngineError where what the server says of its own draws is not what the learner says, as it is of the probe.

        A probe is read and not drawn: it does not show a cache of other weights, nor what comes behind the logits.

        Args:
            given: (N,) log-probabilities of all tokens by the server.
            drew: (N,) the same by the learner, with the weights that were to draw.
            newer: (N,) the same with those that it has by now, where they are others.
        """
        mismatch = _distance(given, drew)
        if mismatch > self.settings.largest_mismatch:
            what = f"draws from another policy than it has: log-probabilities of its responses {self._apart(mismatch)}."
        elif newer is not None and _distance(given, newer) < NEARER * mismatch:
            what = (
                f"draws from newer weights than it was asked for: log-probabilities of its responses are "
                f"{_distance(given, newer):.2g} nats a token from those, and {mismatch:.2g} from the weights asked for."
            )
        else:
            return
        raise EngineError(what, code="engine/other-draws", where=self.server.url, hint=self.how_to_start)

    def _apart(self, mismatch: float) -> str:
        largest = self.settings.largest_mismatch
        return f"differ by {mismatch:.2g} nats a token (rollout.vllm.largest_mismatch: {largest:g})"


def in_background(work: Callable[[], T]) -> Future[T]:
    """What comes of `work`, or its error, from a thread that a process which ends does not wait for.

    Others would be waited for: an answer may take `Vllm.seconds`, and a run that is asked to end has five.
    """
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:
            found.set_exception(error)

    Thread(target=run, daemon=True).start()
    return found


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
