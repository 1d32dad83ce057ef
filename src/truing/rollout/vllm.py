"""The policy on a vLLM server: an adapter that the server is given anew before each update, and is proved to have.

The server has an environment of its own and is spoken to over HTTP. The learner reads again what it has drawn, and
learns from its own log-probabilities; the server's say how far the two computations of one policy are apart.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

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
from truing.rollout.engine import Completion, Sampling
from truing.rollout.server import RefusedError, Server
from truing.runs.files import complete_directory, remove

LAST_WORD = 2.0
"""Seconds that a server has to let go of the last adapter: whoever ends may be in a hurry"""
NEARER = 0.5
"""Share of the distance to the new weights: who is nearer than that to those before has not taken over the new ones"""


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
    version: int = 0
    probe_before: Tensor | None = None
    """(N,) log-probabilities of the probe's responses by the weights of the version before"""

    @torch.no_grad()
    def sync(self) -> dict[str, float]:
        """See `Engine`. The server has a new adapter, and the one before no more."""
        begun = time.perf_counter()
        self.version += 1
        weights = self.role.whole_adapter()
        given = torch.tensor(group.broadcast(lambda: self._hand_over(weights)))
        own = self._logprobs(self.probe, temperature=1.0)[self.probe.response_mask]
        mismatch = self._proved(given, own.cpu())
        return {"sync_mismatch": mismatch, "sync_s": time.perf_counter() - begun}

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> list[Completion]:
        """See `Engine`."""
        seeds = [rng.derived_seed(seed, purpose, number) for number in ids]
        answers = group.broadcast(lambda: self._drawn(prompts, seeds, sampling))
        read = Sequences.collate(prompts, [tokens for tokens, _ in answers], sampling.pad)
        own = self._logprobs(read, sampling.temperature)
        completions = [
            Completion(
                tokens=torch.tensor(tokens, device=own.device),
                logprobs=own[row, : len(tokens)],
                finished=tokens[-1] in sampling.ends,
                engine_logprobs=torch.tensor(given, device=own.device),
            )
            for row, (tokens, given) in enumerate(answers)
        ]
        self._refuse_other_logprobs(completions)
        return completions

    def end(self) -> None:
        """The server lets go of the last adapter, if it still listens. No exchange: others may have failed by now."""
        if group.is_owner():
            self.server = replace(self.server, seconds=min(LAST_WORD, self.server.seconds))
            self._let_go(self._adapter(self.version), attempts=1)

    def _hand_over(self, weights: dict[str, Tensor] | None) -> list[float]:
        """Has the server load the role's adapter; its log-probabilities of the probe's responses, one after the other.

        The adapter has a new name each time: what a server keeps of the prompts that it has read goes by the name.
        """
        name = self._adapter(self.version)
        with complete_directory(self.place / name) as directory:
            save_adapter(self.role, directory, whole=weights)
        try:
            self.server.tell("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(self.place / name)})
        except RefusedError as error:
            what = f"takes no adapter, it {error.what}"
            raise EngineError(what, code="engine/no-adapter", where=self.server.url, hint=self.how_to_start) from error
        self._let_go(self._adapter(self.version - 1))
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

    def _drawn(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[tuple[list[int], list[float]]]:
        name = self._adapter(self.version)
        requests = (draw_request(name, *one, sampling) for one in zip(prompts, seeds, strict=True))
        answers = self.server.answers(COMPLETIONS, requests, sampling.rows)
        return [drawn(answer, sampling, self.server.url) for answer in answers]

    def _logprobs(self, sequences: Sequences, temperature: float) -> Tensor:
        """(B, R) log π(token) by the learner, nats."""
        (found,) = forward_in_micro_batches(
            self.role, sequences, self.score_tokens, lambda rows, _: (response_logprobs(self.role, rows, temperature),)
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

    def _refuse_other_logprobs(self, completions: Sequence[Completion]) -> None:
        """EngineError where what the server says of its own draws is not what the learner says, as it is of the probe.

        A probe is read and not drawn: it does not show a cache of other weights, nor what comes behind the logits.
        """
        given = torch.cat([one.engine_logprobs for one in completions if one.engine_logprobs is not None])
        mismatch = _distance(given, torch.cat([one.logprobs for one in completions]))
        if mismatch > self.settings.largest_mismatch:
            what = f"draws from another policy than it has: log-probabilities of its responses {self._apart(mismatch)}."
            raise EngineError(what, code="engine/other-draws", where=self.server.url, hint=self.how_to_start)

    def _apart(self, mismatch: float) -> str:
        largest = self.settings.largest_mismatch
        return f"differ by {mismatch:.2g} nats a token (rollout.vllm.largest_mismatch: {largest:g})"


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean())
