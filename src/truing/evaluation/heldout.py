"""Evaluation on prompts that learning never sees: the same prompts and the same draws every time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core.errors import RewardError
from truing.core.experience import Rollout
from truing.core.records import Sample, readable
from truing.core.results import Change, HeldoutResult
from truing.data.encode import EncodedPrompt
from truing.data.token_texts import token_texts
from truing.evaluation.changes import change_between
from truing.evaluation.decision import Evaluation
from truing.evaluation.drift import Metrics, drift_warnings
from truing.evaluation.learning import alike_finding, endless_finding
from truing.evaluation.variety import distinct_words, shared_phrases, signs_of_likeness
from truing.models.layout import Roles
from truing.models.scoring import forward_in_micro_batches, response_logprobs
from truing.rewards.answers import Answers
from truing.rewards.build import build_judges
from truing.rewards.combined import scores_of
from truing.rewards.sources import RewardFn
from truing.rollout.environment import Environment
from truing.rollout.episodes import NO_SCORES_HINT, as_samples, dropped_warnings, respond
from truing.rollout.read_again import local_engine
from truing.runs.metrics import JsonLines

MEANS = {"score": "score", "member_spread": "member_spread", "kl": "kl", "length": "length", "eos_rate": "finished"}
"""What each mean over held-out responses is called, and what it is of"""


class HeldoutEvaluator:
    """Answers the held-out prompts, scores them with the reward and with judges it never learns from.

    Common random numbers make two evaluations comparable: what changes between them is the policy alone.
    """

    def __init__(
        self,
        recipe: Recipe,
        roles: Roles,
        reward: RewardFn | None,
        prompts: Sequence[EncodedPrompt],
        samples: JsonLines,
        earlier: Sequence[Mapping[str, Any]] = (),
        answers: Answers | None = None,
        environment: Environment | None = None,
    ) -> None:
        """Args:
        recipe: of the stage.
        roles: of which the policy answers and the reference, where there is one, says how far it has moved.
        reward: what learning is after; None where nothing scores.
        prompts: those that were held out.
        samples: where each response goes, a line each.
        earlier: the lines that are there already.
        answers: what LLM judges have said in the run.
        environment: what the policy talks with.
        """
        self._recipe = recipe
        self._roles = roles
        self._engine = local_engine(roles.policy, recipe)
        self._reward = reward
        self._prompts = prompts
        self._answers = answers or Answers()
        self._judges = build_judges(recipe, self._answers)
        self._environment = environment
        self._samples = samples
        self.rows = {step: [dict(row) for row in rows] for step, rows in groupby(earlier, key=itemgetter("step"))}
        """What was written to samples.jsonl, by step"""

    @property
    def history(self) -> list[Evaluation]:
        """Every evaluation so far, the first before anything was learnt."""
        return [Evaluation(step, _means(rows)) for step, rows in sorted(self.rows.items())]

    def forget_after(self, step: int) -> None:
        """The stage has gone back to this step."""
        self.rows = {known: rows for known, rows in self.rows.items() if known <= step}

    def evaluate(self, step: int) -> dict[str, Any]:
        """Writes one line a prompt to samples.jsonl and returns the means."""
        recipe = self._recipe
        rollout = respond(
            self._engine, self._prompts, recipe, self._roles.base, "held-out look", environment=self._environment
        )
        samples = as_samples(self._prompts, rollout, self._roles.base.text_format(recipe.data))
        judged = {name: _numbers(judge.score(samples)) for name, judge in self._judges.items()}
        distances = self._distances(rollout, samples)
        rows = [
            _row(step, sample, distance) | {"judges": {name: scores[i] for name, scores in judged.items()}}
            for i, (sample, distance) in enumerate(zip(samples, distances, strict=True))
        ]
        if self._reward is not None:
            found = scores_of(self._reward, samples)
            rows = [row | {"score": score} for row, score in zip(rows, _numbers(found.total), strict=True)]
            if found.spread is not None:
                spread = _numbers(found.spread)
                rows = [row | {"member_spread": own} for row, own in zip(rows, spread, strict=True)]
            named = {label: _numbers(scores) for label, scores in found.parts.items()}
            if named:
                rows = [row | {"parts": {label: of[i] for label, of in named.items()}} for i, row in enumerate(rows)]
        for row in rows:
            self._samples.append(row)
        self.rows[step] = rows
        return _means(rows)

    def _distances(self, rollout: Rollout, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Of each response, how far the policy has moved from the reference; nothing where there is none."""
        reference, temperature = self._roles.reference, self._recipe.rollout.temperature
        if reference is None:
            return [{}] * len(samples)
        (ref_logprobs,) = forward_in_micro_batches(
            reference,
            rollout.sequences,
            given(self._recipe.compute.score_tokens),
            lambda rows, _: (response_logprobs(reference, rows, temperature),),
        )
        ratios, nats = (rollout.logprobs - ref_logprobs).tolist(), rollout.kl(ref_logprobs).tolist()
        return [{"kl": kl} | self._tokens(sample, own) for kl, sample, own in zip(nats, samples, ratios, strict=True)]

    def _tokens(self, sample: Sample, log_ratios: Sequence[float]) -> dict[str, Any]:
        """What each token brought to the text, and its log π/π_ref in nats; nothing where texts do not add up."""
        form = self._roles.base.text_format(self._recipe.data)
        texts = token_texts(form, sample.prompt_tokens, sample.response_tokens, sample.response)
        return (
            {"tokens": texts, "token_log_ratios": [round(one, 4) for one in log_ratios[: len(texts)]]} if texts else {}
        )

    def result(self) -> HeldoutResult:
        """What changed between the first evaluation and the last."""
        changes = self._changes()
        before, after = ([row.get("kl") for row in self.rows[step]] for step in (min(self.rows), max(self.rows)))
        return HeldoutResult(
            heldout_prompts=len(self._prompts),
            heldout_kl=None if self._roles.reference is None else change_between(before, after),
            judges={name: changes[f"judge_{name}"] for name in self._judges},
            heldout_dropped=self.dropped,
            heldout_score=changes.get("heldout_score"),
            alike=self.alike,
            parts={name: changes[f"part_{name}"] for name in self._parts} or None,
            llm_judges=self._answers.usage() or None,
        )

    @property
    def dropped(self) -> int:
        """Responses, of all evaluations, that lack the score or a judge's."""
        return sum(_without_number(row) for rows in self.rows.values() for row in rows)

    def warnings(self, first: Metrics, last: Metrics, dropped: int = 0) -> list[str]:
        """Signs of drift between a stage's start and its end, and responses left out, in training too.

        A judge's change warns where it is more than noise.
        """
        return [*drift_warnings(first, last, self.uncertainty()), *dropped_warnings(dropped, self.dropped)]

    def findings(self, stage: str, beta_key: str | None) -> list[str]:
        """What became of the answers: whether they still end, and whether they still differ from each other.

        stage: its section. beta_key: what in it holds the policy to its start, where anything does.
        """
        before, after = (self.rows[step] for step in (min(self.rows), max(self.rows)))
        first, last = (fmean(row["finished"] for row in rows) for rows in (before, after))
        base = self._roles.base
        ends = [str(base.tokenizer.convert_ids_to_tokens(token)) for token in base.endings.tokens]
        return [
            *endless_finding(first, last, self._recipe.rollout.max_new_tokens, ends),
            *alike_finding(self.alike, f"{stage}.{beta_key}" if beta_key else None),
        ]

    @property
    def alike(self) -> list[str]:
        """Signs that the answers became like each other between the first evaluation and the last."""
        before, after = ([_own_words(row) for row in self.rows[step]] for step in (min(self.rows), max(self.rows)))
        return signs_of_likeness(before, after)

    def uncertainty(self) -> dict[str, float]:
        """Half the width of the 95% interval of each change, by the metric's name: less than that is noise."""
        return {name: change.noise for name, change in self._changes().items()}

    @property
    def _parts(self) -> list[str]:
        """Of a summed reward."""
        return list(self.rows[min(self.rows)][0].get("parts", {}))

    def _changes(self) -> dict[str, Change]:
        before, after = self.rows[min(self.rows)], self.rows[max(self.rows)]
        changes = {
            f"judge_{name}": change_between(
                [row["judges"][name] for row in before], [row["judges"][name] for row in after]
            )
            for name in self._judges
        }
        for name in self._parts:
            given = ([row["parts"][name] for row in rows] for rows in (before, after))
            changes[f"part_{name}"] = change_between(*given)
        if self._reward is not None:
            changes["heldout_score"] = change_between([row["score"] for row in before], [row["score"] for row in after])
        return changes


def _numbers(scores: Iterable[float]) -> list[float | None]:
    """None, which JSON knows, for what is to be dropped."""
    return [score if math.isfinite(score) else None for score in scores]


def _without_number(row: dict[str, Any]) -> bool:
    return None in (row.get("score", 0.0), *row["judges"].values())


def _row(step: int, sample: Sample, distance: dict[str, Any]) -> dict[str, Any]:
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.episode.turns] if sample.episode else []
    asked = [] if isinstance(sample.prompt, str) else [turn.turn for turn in sample.prompt]
    return {
        "step": step,
        "prompt": readable(sample.prompt),
        **({"prompt_turns": asked} if asked else {}),
        "response": sample.response,
        "length": sample.length,
        "finished": sample.finished,
        **({"turns": turns} if turns else {}),
        **distance,
    }


def _own_words(row: dict[str, Any]) -> str:
    """What the policy said; of an episode, in all of its turns."""
    turns = [turn["content"] for turn in row.get("turns", []) if turn["role"] == "assistant"]
    return "\n".join(turns) if turns else str(row.get("response", ""))


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    means: dict[str, Any] = {
        f"heldout_{name}": _mean([row[key] for row in rows]) for name, key in MEANS.items() if key in rows[0]
    }
    if "response" in rows[0]:
        said = [_own_words(row) for row in rows]
        means |= {"heldout_distinct_words": distinct_words(said), "heldout_shared_phrases": shared_phrases(said)}
    named = {"judge": rows[0]["judges"], "part": rows[0].get("parts", {})}
    return means | {
        f"{kind}_{name}": _mean([row[f"{kind}s"][name] for row in rows])
        for kind, names in named.items()
        for name in names
    }


def _mean(values: Sequence[float | None]) -> float:
    """Mean of the non-missing values; raises RewardError if all are missing."""
    present = [value for value in values if value is not None]
    if not present:
        what = "no held-out response was given a score."
        raise RewardError(what, code="rewards/no-heldout-scores", hint=NO_SCORES_HINT)
    return fmean(present)
