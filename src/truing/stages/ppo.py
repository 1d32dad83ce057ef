"""Proximal policy optimisation against a reward, held to the reference by a KL penalty. See docs/algorithms/ppo.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from truing.config.algorithms import Ppo
from truing.config.recipe import Recipe
from truing.core import rng
from truing.core.batches import Experience, Rollout
from truing.core.records import Sample
from truing.evaluation.heldout import HeldoutEvaluator
from truing.functional import (
    distinct_n,
    explained_variance,
    gae,
    masked_mean,
    masked_whiten,
    ppo_policy_loss,
    ppo_value_loss,
    shape_rewards,
)
from truing.models.layout import PpoRoles, ppo_roles
from truing.models.scoring import distribution_figures, forward_in_micro_batches, response_logprobs, response_values
from truing.rewards.build import build_reward
from truing.rewards.sources import RewardSource
from truing.rollout.episodes import PromptSet, after_missing_eos, answer, as_samples, load_prompts, with_score
from truing.stages.kl_control import KlController
from truing.stages.ppo_result import PHASES, closing_figures
from truing.training.job import Job
from truing.training.journal import open_journal
from truing.training.learner import Learner
from truing.training.timing import Stopwatch

LEARNING = ("policy_loss", "value_loss", "clip_fraction", "approx_kl", "value_clip_fraction", "grad_norm")
"""Figures of an optimiser step that are logged as their mean over the update's"""


@dataclass(frozen=True)
class Scored:
    """A rollout with everything that was measured on it before learning."""

    rollout: Rollout
    scores: Tensor
    """(B,) as the reward source gave them, normalised"""
    ref_logprobs: Tensor
    """(B, R)"""
    kl_exact: Tensor
    """(B, R) full-vocabulary KL(π‖ref) before each token"""
    entropy: Tensor
    """(B, R)"""
    values: Tensor
    """(B, R) of the critic"""

    @property
    def kl(self) -> Tensor:
        """(B,) k1 estimate of KL(π‖ref), nats per sequence."""
        return self.rollout.kl(self.ref_logprobs)


def train_ppo(job: Job) -> dict[str, Any]:
    """Runs every update, looks at held-out prompts as it goes, saves `model/` and returns the closing figures."""
    recipe, settings = job.recipe, job.recipe.ppo
    roles = ppo_roles(recipe, job.start, job.reward)
    prompts = load_prompts(recipe, roles.base, job.progress)
    learner = joint_learner(recipe, roles)
    with open_journal(job, learner, settings.updates) as journal:
        reward = build_reward(recipe, roles, prompts, journal.recall("normalisations", None))
        controller = KlController(journal.recall("beta", settings.kl.beta), settings.kl)
        look = HeldoutEvaluator(recipe, roles, reward, prompts.heldout, journal)
        if not journal.rows:
            journal.log(0, look.take(0))
        for update in journal.remaining(settings.updates):
            figures = ppo_update(update, roles, prompts, reward, learner, recipe, controller.beta)
            controller = controller.after(figures["kl"], settings.episodes)
            if update % recipe.evaluation.every == 0 or update == settings.updates:
                figures |= look.take(update)
            figures["episodes"] = update * settings.episodes
            journal.log(update, figures, shown=("score", "kl", "entropy", "length"))
            journal.done(update, beta=controller.beta, normalisations=reward.normalisations)
    result = closing_figures(journal.rows, look) | {"notes": list(roles.base.notes)}
    job.save_policy(roles.policy, roles.base)
    return result


def ppo_update(
    update: int,
    roles: PpoRoles,
    prompts: PromptSet,
    reward: RewardSource,
    learner: Learner,
    recipe: Recipe,
    beta: float,
) -> dict[str, Any]:
    """One round: the policy answers, its answers are scored, policy and critic learn. Returns the log's figures."""
    phases = {name: Stopwatch() for name in PHASES}
    with phases["rollout_s"]:
        rollout, said = _collect(update, recipe, roles, prompts)
    with phases["score_s"]:
        rollout, said, scores = with_score(rollout, said, reward.score(said), recipe.ppo.minibatches)
        scored = score_rollout(rollout, scores, roles, recipe)
        experience = make_experience(scored, recipe, beta)
    with phases["learn_s"]:
        names = [f"the response {sample.response[:80]!r}" for sample in said]
        figures = {"learning_rate": learner.learning_rate} | learn(experience, roles, learner, recipe, update, names)
    figures |= {"dropped": recipe.ppo.episodes - len(said)} | {name: watch.seconds for name, watch in phases.items()}
    return rollout_figures(scored, experience, recipe, beta) | figures


def _collect(update: int, recipe: Recipe, roles: PpoRoles, prompts: PromptSet) -> tuple[Rollout, list[Sample]]:
    """The update's episodes: prompts in their order, answered by the policy as it is now."""
    first = (update - 1) * recipe.ppo.episodes
    asked = prompts.of_episodes(range(first, first + recipe.ppo.episodes), recipe.seed)
    rollout = answer(roles.policy, asked, recipe, roles.base, "rollout", first)
    return rollout, as_samples(asked, rollout, roles.base)


def score_rollout(rollout: Rollout, scores: Sequence[float], roles: PpoRoles, recipe: Recipe) -> Scored:
    """Asks the reference and the critic about what the policy said."""
    budget = recipe.compute.score_tokens
    ref_logprobs, kl, entropy = distribution_figures(
        roles.policy, roles.reference, rollout, recipe.rollout.temperature, budget
    )
    (values,) = forward_in_micro_batches(
        roles.critic, rollout.sequences, budget, lambda rows, _: (response_values(roles.critic, rows),)
    )
    return Scored(rollout, torch.tensor(scores, device=values.device), ref_logprobs, kl, entropy, values)


def make_experience(scored: Scored, recipe: Recipe, beta: float) -> Experience:
    """Rewards token by token, advantages and returns by GAE, advantages whitened over the whole batch."""
    settings = recipe.ppo
    rollout, mask = scored.rollout, scored.rollout.sequences.response_mask
    scores = after_missing_eos(scored.scores, rollout.finished, recipe.rewards.missing_eos)
    rewards = shape_rewards(scores, rollout.logprobs, scored.ref_logprobs, mask, beta)
    if settings.whiten_rewards:
        rewards = masked_whiten(rewards, mask, shift_mean=False)
    advantages, returns = gae(rewards, scored.values, mask, gamma=settings.gamma, gae_lambda=settings.gae_lambda)
    return Experience(
        sequences=rollout.sequences,
        old_logprobs=rollout.logprobs,
        old_values=scored.values,
        advantages=masked_whiten(advantages, mask),
        returns=returns,
    )


def learn(
    experience: Experience,
    roles: PpoRoles,
    learner: Learner,
    recipe: Recipe,
    update: int,
    names: Sequence[str] = (),
) -> dict[str, float]:
    """All epochs and minibatches over one update's experience; figures are means over its optimiser steps.

    `names` say which response each row is, for errors.
    """
    settings = recipe.ppo

    def policy_loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        logprobs = response_logprobs(roles.policy, batch.sequences, recipe.rollout.temperature)
        mask = batch.sequences.response_mask
        return ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, mask, settings.clip_range)

    def value_loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        values = response_values(roles.critic, batch.sequences)
        mask = batch.sequences.response_mask
        loss, stats = ppo_value_loss(values, batch.old_values, batch.returns, mask, settings.value_clip_range)
        return settings.value_coefficient * loss, stats

    steps = []
    for index in _minibatches(len(experience), settings, recipe.seed, update):
        minibatch, told = experience.rows(index), [names[row] for row in index] if names else ()
        policy = learner.forward_backward(minibatch, policy_loss, told)
        value = learner.forward_backward(minibatch, value_loss, told)
        steps.append(
            policy
            | value
            | {"policy_loss": policy["loss"], "value_loss": value["loss"] / settings.value_coefficient}
            | {"grad_norm": learner.step()}
        )
    means = {name: sum(step[name] for step in steps) / len(steps) for name in LEARNING}
    return means | {"ratio_max_deviation": steps[0]["ratio_max_deviation"]}


def _minibatches(count: int, settings: Ppo, seed: int, update: int) -> Iterator[list[int]]:
    """Rows of each optimiser step: as many steps whatever was dropped, so that the schedule holds."""
    cuts = [count * part // settings.minibatches for part in range(settings.minibatches + 1)]
    for epoch in range(settings.epochs):
        order = rng.permutation(seed, "minibatches", update, epoch, count=count)
        yield from (order[start:end] for start, end in pairwise(cuts))


def rollout_figures(scored: Scored, experience: Experience, recipe: Recipe, beta: float) -> dict[str, Any]:
    """What an update's episodes show of the policy; every mean is over counted tokens or over sequences."""
    sequences, mask = scored.rollout.sequences, scored.rollout.sequences.response_mask
    penalised = after_missing_eos(scored.scores, scored.rollout.finished, recipe.rewards.missing_eos)
    return {
        "score": float(scored.scores.mean()),
        "score_std": float(scored.scores.std(correction=0)),
        "objective": float((penalised - beta * scored.kl).mean()),
        "kl": float(scored.kl.mean()),
        "kl_exact": float((scored.kl_exact * mask).sum(1).mean()),
        "beta": beta,
        "entropy": float(masked_mean(scored.entropy, mask)),
        "explained_variance": float(explained_variance(scored.values, experience.returns, mask)),
        "length": float(sequences.response_lengths.float().mean()),
        "eos_rate": float(scored.rollout.finished.float().mean()),
        "distinct_2": distinct_n(sequences.responses, 2),
    }


def joint_learner(recipe: Recipe, roles: PpoRoles) -> Learner:
    """One optimiser over policy and critic, so that their joint gradient is clipped once."""
    settings = recipe.ppo
    rate = settings.optimiser.learning_rate
    return Learner(
        [(roles.policy.parameters(), rate), (roles.critic.parameters(), settings.critic_learning_rate or rate)],
        settings.optimiser,
        steps=settings.updates * settings.epochs * settings.minibatches,
        token_budget=recipe.compute.learn_tokens,
        device=roles.base.model.device,
        plan=roles.policy.micro_batches,
    )
