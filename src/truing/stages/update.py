"""One update of a stage that learns from its own responses: the policy answers, answers are scored, roles learn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.config.sections import MissingEos
from truing.core import rng
from truing.core.experience import Experience, Rollout
from truing.core.metrics import reduction
from truing.models.layout import Roles
from truing.models.roles import Role
from truing.models.scoring import distribution_metrics, forward_in_micro_batches, response_values
from truing.rewards.combined import scores_of
from truing.rewards.sources import RewardFn
from truing.rollout.ahead import Rollouts
from truing.rollout.correction import corrected
from truing.rollout.episodes import as_samples, with_score
from truing.stages.objective import LossTerm, Objective, OnlineSettings, Scored
from truing.stages.policy_result import PHASES
from truing.stages.update_metrics import group_metrics, rollout_metrics, source_metrics
from truing.training.learner import Learner, LossFn
from truing.training.timing import Stopwatch


@dataclass(frozen=True)
class Update:
    """One round: the policy answers, its answers are scored, the trained roles learn."""

    recipe: Recipe
    roles: Roles
    objective: Objective
    rollouts: Rollouts
    reward: RewardFn
    learner: Learner

    def run(self, number: int, beta: float) -> dict[str, Any]:
        """Update `number` (from 1) at this price of a nat; returns its metrics."""
        settings = self.objective.settings
        phases = {name: Stopwatch() for name in PHASES}
        with phases["rollout_s"]:
            asked, rollout, drawn = self.rollouts.rollout(number)
            samples = as_samples(asked, rollout, self.roles.base.text_format(self.recipe.data))
        with phases["score_s"]:
            found = scores_of(self.reward, samples)
            rollout, samples, scores = with_score(rollout, samples, found.total, settings.minibatches)
            names = [f"the response {sample.response[:80]!r}" for sample in samples]
            rollout = replace(rollout, sequences=replace(rollout.sequences, names=names))
            scored = score_rollout(rollout, scores, self.roles, self.objective.critic, self.recipe)
            experience = self.objective.experience(scored, beta)
            experience, agreement = corrected(experience, rollout, self.recipe.rollout)
        with phases["learn_s"]:
            rate = {"learning_rate": self.learner.learning_rate}
            learnt = rate | learn(experience, self.objective, self.learner, self.recipe.seed, number)
        timing = {name: watch.seconds for name, watch in phases.items()}
        dropped = {"dropped": len(asked) - len(samples)}
        metrics = rollout_metrics(scored, experience, beta) | source_metrics(found)
        metrics |= group_metrics(scored, settings.responses_per_prompt)
        return metrics | agreement | drawn | learnt | dropped | timing


def score_rollout(
    rollout: Rollout, scores: Sequence[float], roles: Roles, critic: Role | None, recipe: Recipe
) -> Scored:
    """Asks the reference, and the critic where there is one, about what the policy said."""
    budget, temperature = given(recipe.compute.score_tokens), recipe.rollout.temperature
    assert roles.reference is not None
    ref_logprobs, kl, entropy = distribution_metrics(roles.policy, roles.reference, rollout, temperature, budget)
    values = None
    if critic is not None:
        (values,) = forward_in_micro_batches(
            critic, rollout.sequences, budget, lambda rows, _: (response_values(critic, rows),)
        )
    measured = torch.tensor(scores, device=entropy.device)
    rewards = after_missing_eos(measured, rollout.finished, recipe.rewards.missing_eos)
    return Scored(rollout, measured, rewards, ref_logprobs, kl, entropy, values)


def after_missing_eos(scores: Tensor, finished: Tensor, rule: MissingEos) -> Tensor:
    """(B,) scores once the recipe's rule for responses without eos has been applied."""
    if rule.policy == "keep":
        return scores
    other = scores - rule.value if rule.policy == "subtract" else torch.full_like(scores, rule.value)
    return torch.where(finished, scores, other)


def learn(experience: Experience, objective: Objective, learner: Learner, seed: int, number: int) -> dict[str, float]:
    """All epochs and minibatches over one update's experience; metrics are means over its optimiser steps.

    A metric that is reduced to its maximum is that of the first minibatch, before any weight has moved.
    """
    steps: list[dict[str, float]] = []
    experience = experience.kept(least=objective.settings.minibatches)
    for index in _minibatches(len(experience), objective.settings, seed, number):
        minibatch = experience.rows(index)
        losses: dict[str, float] = {}
        stats: dict[str, float] = {}
        for term in objective.losses:
            found = learner.forward_backward(minibatch, _weighted(term))
            losses[term.name] = found.pop("loss") / term.weight
            stats |= found
        steps.append(losses | stats | {"grad_norm": learner.step()})
    first = {name: value for name, value in steps[0].items() if reduction(name) == "max"}
    means = {name: sum(step[name] for step in steps) / len(steps) for name in steps[0] if name not in first}
    return means | first


def _weighted(term: LossTerm) -> LossFn[Experience]:
    def loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        value, stats = term.loss(batch)
        return term.weight * value, stats

    return loss


def _minibatches(count: int, settings: OnlineSettings, seed: int, number: int) -> Iterator[list[int]]:
    """Rows of each optimiser step: as many steps whatever was dropped, so that the schedule holds."""
    cuts = [count * part // settings.minibatches for part in range(settings.minibatches + 1)]
    for epoch in range(settings.epochs):
        order = rng.permutation(seed, "minibatches", number, epoch, count=count)
        yield from (order[start:end] for start, end in pairwise(cuts))
