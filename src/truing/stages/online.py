"""The loop of stages that learn from their own responses: the policy answers, its answers are scored, roles learn.

What makes an algorithm is an `Objective`: how scores and log-probabilities become advantages, and which losses an
update has. The rest (sampling, scoring, the KL penalty's price, evaluation, checkpoints) is the same for all.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any, Protocol

import torch
from torch import Tensor

from truing.config.algorithms import Kl
from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.config.sections import MissingEos, Optimiser
from truing.core import rng
from truing.core.experience import Experience, Rollout
from truing.core.metrics import reduction
from truing.core.results import OnlineResult, to_json
from truing.evaluation.decision import Decide, always_go_on
from truing.evaluation.heldout import HeldoutEvaluator
from truing.evaluation.learning import online_findings, refuse_ratio
from truing.functional import distinct_n, explained_variance, masked_mean
from truing.guard.opening import open_guard
from truing.models.layout import Roles
from truing.models.roles import Role
from truing.models.scoring import distribution_metrics, forward_in_micro_batches, response_values
from truing.rewards.build import build_reward
from truing.rewards.combined import Scores, scores_of
from truing.rewards.sources import RewardFn
from truing.rollout.ahead import Rollouts
from truing.rollout.correction import corrected
from truing.rollout.episodes import as_samples, with_score
from truing.rollout.selection import open_engine
from truing.stages.decisions import decided
from truing.stages.kl_control import KlController
from truing.stages.policy_result import PHASES, online_result
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner, LossFn, Trained
from truing.training.timing import Stopwatch


class OnlineSettings(Protocol):
    """What the loop reads of an algorithm's section in the recipe."""

    @property
    def updates(self) -> int: ...
    @property
    def episodes(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def minibatches(self) -> int: ...
    @property
    def kl(self) -> Kl: ...
    @property
    def optimiser(self) -> Optimiser: ...


@dataclass(frozen=True)
class Scored:
    """A rollout with everything that was measured on it before learning."""

    rollout: Rollout
    scores: Tensor
    """(B,) as the reward gave them, normalised"""
    rewards: Tensor
    """(B,) the scores once the rule for responses without eos has been applied"""
    ref_logprobs: Tensor
    """(B, R)"""
    kl_exact: Tensor
    """(B, R) full-vocabulary KL(π‖ref) before each token"""
    entropy: Tensor
    """(B, R)"""
    values: Tensor | None
    """(B, R) of the critic, where there is one"""

    @property
    def kl(self) -> Tensor:
        """(B,) estimate of KL(π‖ref), nats per sequence: k1 of the policy's own draws.

        Of older weights' draws, k1 is too low by KL(π_drew‖π), and soon below 0. What is exact asks for no draw.
        """
        if self.rollout.drawn_logprobs is None:
            return self.rollout.kl(self.ref_logprobs)
        return (self.kl_exact * self.rollout.sequences.response_mask).sum(1)


@dataclass(frozen=True)
class LossTerm:
    """One of the losses of an update. Terms are added up in one joint gradient."""

    name: str
    """As it is logged"""
    loss: LossFn[Experience]
    weight: float = 1.0


@dataclass(frozen=True)
class Objective:
    """What makes one algorithm of this loop."""

    settings: OnlineSettings
    experience: Callable[[Scored, float], Experience]
    """From a scored rollout and β, the price of a nat, to advantages (and returns, where a critic learns)"""
    losses: Sequence[LossTerm]
    trained: Sequence[Trained]
    critic: Role | None = None


def train_online(job: Job, roles: Roles, objective: Objective, decide: Decide | None = None) -> OnlineResult:
    """Runs every update, evaluates on held-out prompts as it goes, saves `model/` and returns the final metrics.

    What an evaluation comes to is decided by the recipe's guard, or by `decide` where that is given.
    """
    recipe, settings = job.recipe, objective.settings
    prompts = job.prompts()
    steps = settings.updates * settings.epochs * settings.minibatches
    learner = Learner(objective.trained, settings.optimiser, steps, given(recipe.compute.learn_tokens))
    with (
        open_journal(job, learner, settings.updates) as journal,
        open_engine(recipe, roles.policy, roles.base, prompts.train, job.directory.root) as engine,
    ):
        reward = build_reward(recipe, roles, prompts, journal.recall("normalisations", None))
        controller = KlController(journal.recall("beta", settings.kl.beta), settings.kl)
        evaluator = HeldoutEvaluator(recipe, roles, reward, prompts.heldout, journal.samples, journal.earlier_samples)
        guard = (
            None if decide else open_guard(job, settings.updates, settings.kl.beta, journal, evaluator, prompts.heldout)
        )
        if not journal.rows:
            journal.log(0, evaluator.evaluate(0))
        if guard is not None and guard.acts and journal.step == 0:
            journal.pin()
        decide = decide or (always_go_on if guard is None else guard.decide)
        rollouts = Rollouts(recipe, roles.base, prompts, engine, settings.episodes, settings.updates)
        rollouts.take_up(journal.step, journal.tensors)
        update = Update(recipe, roles, objective, rollouts, reward, learner)
        controller, stop = decided(decide, controller, journal, evaluator, rollouts)
        while stop is None and journal.step < settings.updates:
            number = journal.step + 1
            metrics = update.run(number, controller.beta)
            refuse_ratio(metrics.get("ratio_max_deviation", 0.0), recipe.compute.dtype)
            controller = controller.after(metrics["kl"], settings.episodes)
            evaluated = number % recipe.evaluation.every == 0 or number == settings.updates
            evaluated = evaluated or (guard is not None and guard.looks_at(number))
            metrics |= evaluator.evaluate(number) if evaluated else {}
            metrics["episodes"] = number * settings.episodes
            journal.log(number, metrics, shown=("score", "kl", "entropy", "length"))
            memory = {"beta": controller.beta, "normalisations": reward.normalisations}
            memory |= {} if guard is None else {"guard": to_json(guard.state)}
            journal.done(number, rollouts.weights, **memory)
            controller, stop = decided(decide, controller, journal, evaluator, rollouts)
        journal.keep()
        if stop is not None and stop.keeps_pinned:
            evaluator.forget_after(journal.take_pinned())
    name, steps = job.spec.name, settings.epochs * settings.minibatches
    findings = online_findings(journal.rows, name, steps, recipe.compute.dtype) + evaluator.findings(name, "kl.beta")
    stopped_by, notes = "updates" if stop is None else stop.reason, [*roles.base.notes, *rollouts.notes]
    guarded = None if guard is None else guard.result()
    result = online_result(journal.rows, evaluator, stopped_by, notes, findings, guarded)
    job.save_policy(roles.policy, roles.base, result)
    return result


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
        metrics = rollout_metrics(scored, experience, beta) | spread_metrics(found)
        return metrics | agreement | drawn | learnt | dropped | timing


def score_rollout(
    rollout: Rollout, scores: Sequence[float], roles: Roles, critic: Role | None, recipe: Recipe
) -> Scored:
    """Asks the reference, and the critic where there is one, about what the policy said."""
    budget, temperature = given(recipe.compute.score_tokens), recipe.rollout.temperature
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


def spread_metrics(scores: Scores) -> dict[str, float]:
    """How far the members of the reward model differ, over responses that all of them could score."""
    known = [spread for spread in scores.spread or () if math.isfinite(spread)]
    return {"member_spread": fmean(known)} if known else {}


def rollout_metrics(scored: Scored, experience: Experience, beta: float) -> dict[str, Any]:
    """What an update's episodes show of the policy; every mean is over counted tokens or over sequences."""
    sequences, mask = scored.rollout.sequences, scored.rollout.sequences.response_mask
    metrics = {
        "score": float(scored.scores.mean()),
        "score_std": float(scored.scores.std(correction=0)),
        "objective": float((scored.rewards - beta * scored.kl).mean()),
        "kl": float(scored.kl.mean()),
        "kl_exact": float((scored.kl_exact * mask).sum(1).mean()),
        "beta": beta,
        "entropy": float(masked_mean(scored.entropy, mask)),
    }
    if scored.values is not None and experience.returns is not None:
        metrics["explained_variance"] = float(explained_variance(scored.values, experience.returns, mask))
    return metrics | {
        "length": float(sequences.response_lengths.float().mean()),
        "eos_rate": float(scored.rollout.finished.float().mean()),
        "distinct_2": distinct_n(sequences.responses, 2),
    }
