"""A look at prompts that learning never sees: the same prompts and the same draws every time."""

from collections.abc import Sequence
from typing import Any

import torch

from truing.data.encode import EncodedPrompt
from truing.models.layout import Roles
from truing.models.rewards import FunctionReward, RewardSource
from truing.models.scoring import in_parts, response_logprobs
from truing.recipe import Recipe
from truing.records import Sample, Text
from truing.runs.metrics import JsonLines
from truing.stages.episodes import answer, as_samples


class HeldoutLook:
    """Answers the held-out prompts, scores them with the reward and with judges it never learns from.

    Common random numbers make two looks comparable: what changes between them is the policy alone.
    """

    def __init__(self, recipe: Recipe, roles: Roles, reward: RewardSource, prompts: Sequence[EncodedPrompt]) -> None:
        self._recipe = recipe
        self._roles = roles
        self._reward = reward
        self._prompts = prompts
        self._judges = {name: FunctionReward.load(path) for name, path in recipe.judges.items()}
        self.rows: dict[int, list[dict[str, Any]]] = {}
        """What was written to samples.jsonl, by step"""

    def take(self, step: int, samples: JsonLines) -> dict[str, Any]:
        """Writes one line a prompt to `samples` and returns the means."""
        rollout = answer(self._roles.policy, self._prompts, self._recipe, self._roles.base, "held-out look")
        (ref_logprobs,) = in_parts(
            rollout.sequences,
            self._recipe.compute.score_tokens,
            lambda rows, _: (response_logprobs(self._roles.reference, rows, self._recipe.ppo.temperature),),
        )
        kl = ((rollout.logprobs - ref_logprobs) * rollout.sequences.response_mask).sum(1)
        said = as_samples(self._prompts, rollout, self._roles.base)
        judged = {name: judge.score(said) for name, judge in self._judges.items()}
        rows = [
            _row(step, sample, score, float(nats), {name: scores[i] for name, scores in judged.items()})
            for i, (sample, score, nats) in enumerate(zip(said, self._reward.score(said), kl, strict=True))
        ]
        for row in rows:
            samples.append(row)
        self.rows[step] = rows
        return _means(rows)


def _row(step: int, sample: Sample, score: float, kl: float, judges: dict[str, float]) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": readable(sample.prompt),
        "response": sample.response,
        "score": score,
        "kl": kl,
        "length": len(sample.response_tokens),
        "finished": sample.finished,
        "judges": judges,
    }


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: list[float]) -> float:
        return float(torch.tensor(values, dtype=torch.float64).mean())

    judges = {f"judge_{name}": mean([row["judges"][name] for row in rows]) for name in rows[0]["judges"]}
    return {
        "heldout_score": mean([row["score"] for row in rows]),
        "heldout_kl": mean([row["kl"] for row in rows]),
        "heldout_length": mean([row["length"] for row in rows]),
        "heldout_eos_rate": mean([row["finished"] for row in rows]),
    } | judges


def readable(prompt: Text) -> str:
    """A prompt as one text for people to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)
