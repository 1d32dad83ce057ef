"""What samples: anything that answers prompts and says how likely it thought its answers were."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from truing.core.records import Episode


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    max_new_tokens: int
    temperature: float
    ends: tuple[int, ...]
    """Tokens of which any ends a response"""
    pad: int
    rows: int
    """Responses sampled side by side; changes speed and memory, not what is drawn"""
    pack: bool = True
    """Whether weights are laid out for sampling on a CPU; changes speed and memory, results by rounding"""
    read_at_once: int | None = None
    """Tokens of prompts that a device reads at once, at most; changes memory, results by rounding. None for all"""


@dataclass(frozen=True)
class Completion:
    """One response. The states are the local engine's own, kept to spare later forwards; others leave them out."""

    tokens: Tensor
    """(R,) int64, the token that ends it included; on the host, wherever the rest is"""
    logprobs: Tensor
    """(R,) log π(token) at the sampling temperature, nats, as the learner computes it before it learns from it"""
    finished: bool
    """Whether a token ended it"""
    hidden: Tensor | None = None
    """(R, D) the last hidden state that each token was drawn from"""
    prefix_states: Tensor | None = None
    """(T − 1, D) what left the frozen prefix for every token that was read"""
    engine_logprobs: Tensor | None = None
    """(R,) the same as the engine gave them, where it computes the policy otherwise than the learner"""
    drawn_logprobs: Tensor | None = None
    """(R,) the same by the learner with the weights that drew, where these may be older than those that learn"""
    drawn: Tensor | None = None
    """(R,) bool: the tokens that the policy drew, where an environment said others"""
    episode: Episode | None = None
    """What that environment made of it"""

    def to_hand_over(self) -> "Completion":
        """What another process needs to know of it, on the host: each process has a device of its own."""
        return Completion(self.tokens.clone(), self.logprobs.to("cpu", copy=True), self.finished)


@dataclass(frozen=True)
class Drawing:
    """Responses that are being drawn."""

    completions: Callable[[], list[Completion]]
    """Waits until they are there, before the learner's next step; raises what `Engine.begin` says"""
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    """That draw them, by path, from an engine that goes on drawing while the learner learns"""


class Engine(Protocol):
    """A policy that can be sampled, wherever it runs."""

    def sync(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Takes over the weights that the learner has now, or these earlier ones of a `Drawing`.

        Returns what was measured of it, by metric.

        Raises:
            EngineError: it cannot be told that they are the same now.
        """

    def begin(
        self, prompts: Sequence[Sequence[int]], ids: Sequence[int], sampling: Sampling, seed: int, purpose: str
    ) -> Drawing:
        """One response to each prompt, in order, by the weights of the last sync.

        Args:
            prompts: B token lists, each at least one token.
            ids: B sample ids; the draws of a response depend on (seed, purpose, id) and on nothing else.
            sampling: how.
            seed: of the run.
            purpose: what the responses are for, such as `rollout`.

        Raises:
            TrainingError: the logits are not finite.
            EngineError: the server that draws fails, or computes another policy than the learner.
        """
