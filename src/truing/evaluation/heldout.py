"""A look at prompts that learning never sees: the same prompts and the same draws every time."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

from truing.config.recipe import Recipe
from truing.core.errors import RewardError
from truing.core.records import Sample, Text
from truing.data.encode import EncodedPrompt
from truing.evaluation.drift import Metrics, drift_warnings
from truing.functional import mean_interval
from truing.models.layout import Roles
from truing.models.scoring import forward_in_micro_batches, response_logprobs
from truing.rewards.python_function import FunctionReward
from truing.rewards.sources import RewardSource
from truing.rollout.episodes import NO_SCORES_MEND, answer, as_samples, dropped_warnings
from truing.training.journal import Journal


class HeldoutEvaluator:
    """Answers the held-out prompts, scores them with the reward and with judges it never learns from.

    Common random numbers make two looks comparable: what changes between them is the policy alone.
    """

    def __init__(
        self,
        recipe: Recipe,
        roles: Roles,
        reward: RewardSource | None,
        prompts: Sequence[EncodedPrompt],
        journal: Journal,
    ) -> None:
        self._recipe = recipe
        self._roles = roles
        self._reward = reward
        self._prompts = prompts
        self._judges = {name: FunctionReward.load(path, recipe) for name, path in recipe.evaluation.judges.items()}
        self._samples = journal.samples
        self.rows = {step: list(rows) for step, rows in groupby(journal.sampled, key=itemgetter("step"))}
        """What was written to samples.jsonl, by step"""

    def take(self, step: int) -> dict[str, Any]:
        """Writes one line a prompt to samples.jsonl and returns the means."""
        rollout = answer(self._roles.policy, self._prompts, self._recipe, self._roles.base, "held-out look")
        (ref_logprobs,) = forward_in_micro_batches(
            self._roles.reference,
            rollout.sequences,
            self._recipe.compute.score_tokens,
            lambda rows, _: (response_logprobs(self._roles.reference, rows, self._recipe.rollout.temperature),),
        )
        said = as_samples(self._prompts, rollout, self._roles.base)
        judged = {name: _numbers(judge.score(said)) for name, judge in self._judges.items()}
        rows = [
            _row(step, sample, float(nats)) | {"judges": {name: scores[i] for name, scores in judged.items()}}
            for i, (sample, nats) in enumerate(zip(said, rollout.kl(ref_logprobs), strict=True))
        ]
        if self._reward is not None:
            scores = _numbers(self._reward.score(said))
            rows = [row | {"score": score} for row, score in zip(rows, scores, strict=True)]
        for row in rows:
            self._samples.append(row)
        self.rows[step] = rows
        return _means(rows)

    def closing_figures(self) -> dict[str, Any]:
        """What changed between the first look and the last, for result.json."""
        changes = self._changes()
        judges = {name: changes[f"judge_{name}"] for name in self._judges}
        score = changes.get("heldout_score", {})
        return {
            "heldout_prompts": len(self._prompts),
            "heldout_kl_last": fmean(row["kl"] for row in self.rows[max(self.rows)]),
            "judges": judges,
            "heldout_dropped": self.dropped,
            **{f"heldout_score_{key}": value for key, value in score.items()},
        }

    @property
    def dropped(self) -> int:
        """Responses, of all looks, that lack the score or a judge's."""
        return sum(_without_number(row) for rows in self.rows.values() for row in rows)

    def warnings(self, first: Metrics, last: Metrics, dropped: int = 0) -> list[str]:
        """Signs of drift from the figures of a stage's start to those of its end; responses left out, in training too.

        A judge's change warns where the looks say that it is more than noise.
        """
        return [*drift_warnings(first, last, self.uncertainty()), *dropped_warnings(dropped, self.dropped)]

    def uncertainty(self) -> dict[str, float]:
        """Half the width of the 95% interval of each change, by the metric's name: less than that is noise."""
        return {name: (c["change_ci95"][1] - c["change_ci95"][0]) / 2 for name, c in self._changes().items()}

    def _changes(self) -> dict[str, dict[str, Any]]:
        before, after = self.rows[min(self.rows)], self.rows[max(self.rows)]
        changes = {
            f"judge_{name}": _change([row["judges"][name] for row in before], [row["judges"][name] for row in after])
            for name in self._judges
        }
        if self._reward is not None:
            changes["heldout_score"] = _change([row["score"] for row in before], [row["score"] for row in after])
        return changes


def _numbers(scores: Iterable[float]) -> list[float | None]:
    """None, which JSON knows, for what is to be dropped."""
    return [score if math.isfinite(score) else None for score in scores]


def _without_number(row: dict[str, Any]) -> bool:
    return None in (row.get("score", 0.0), *row["judges"].values())


def _change(before: Sequence[float | None], after: Sequence[float | None]) -> dict[str, Any]:
    """Mean and 95% interval at the first look, at the last, and of the change of each prompt's own figure.

    RewardError where no prompt has a figure at both.
    """
    both = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    if not both:
        raise RewardError("no held-out response has a score at the first look and at the last.", hint=NO_SCORES_MEND)
    first, *first_ci95 = mean_interval([a for a, _ in both])
    last, *last_ci95 = mean_interval([b for _, b in both])
    change, *change_ci95 = mean_interval([b - a for a, b in both])
    return {
        "first": first,
        "last": last,
        "first_ci95": first_ci95,
        "last_ci95": last_ci95,
        "change": change,
        "change_ci95": change_ci95,
    }


def _row(step: int, sample: Sample, kl: float) -> dict[str, Any]:
    return {
        "step": step,
        "prompt": readable(sample.prompt),
        "response": sample.response,
        "kl": kl,
        "length": len(sample.response_tokens),
        "finished": sample.finished,
    }


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    means = {
        f"heldout_{name}": _mean([row[key] for row in rows])
        for name, key in (("score", "score"), ("kl", "kl"), ("length", "length"), ("eos_rate", "finished"))
        if key in rows[0]
    }
    return means | {f"judge_{name}": _mean([row["judges"][name] for row in rows]) for name in rows[0]["judges"]}


def _mean(values: Sequence[float | None]) -> float:
    """Over those that are there; RewardError where none is."""
    there = [value for value in values if value is not None]
    if not there:
        raise RewardError("no held-out response was given a score.", hint=NO_SCORES_MEND)
    return fmean(there)


def readable(prompt: Text) -> str:
    """A prompt as one text for people to read."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {message.content}" for message in prompt)
