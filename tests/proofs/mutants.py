"""Classic mistakes of PPO, each switched on by patching the one place where truing does it right."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from proofs.enumerable import Tabular, World
from torch import Tensor

from truing.config.algorithms import Ppo
from truing.core.batches import Sequences
from truing.core.experience import Experience
from truing.functional import kl_estimate, masked_mean, masked_whiten, token_logprobs
from truing.functional import rewards as reward_shaping
from truing.kernels import next_token
from truing.models.roles import Role
from truing.stages import ppo
from truing.stages.objective import Scored

Mutant = Callable[[pytest.MonkeyPatch, World, float], None]


def ratio_against_the_reference(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    right = ppo.make_experience

    def wrong(scored: Scored, beta: float, settings: Ppo) -> Experience:
        return replace(right(scored, beta, settings), old_logprobs=scored.ref_logprobs)

    patch.setattr(ppo, "make_experience", wrong)


def k3_in_the_reward(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    patch.setattr(reward_shaping, "kl_estimate", lambda now, ref: kl_estimate(now, ref, "k3"))


def k3_as_the_token_loss(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    _kl_in_the_loss(patch, world, beta, "k3")


def k2_as_the_token_loss(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    _kl_in_the_loss(patch, world, beta, "k2")


def _kl_in_the_loss(patch: pytest.MonkeyPatch, world: World, beta: float, estimator: Any) -> None:
    """The penalty leaves the reward and joins the loss. Advantages keep their scale, or β would mean another price."""
    reference = Role(Tabular(world.ref_logits))
    experience, logprobs, loss = ppo.make_experience, ppo.response_logprobs, ppo.ppo_policy_loss
    ref: list[Tensor] = []

    def noting_the_reference(role: Role, sequences: Sequences, temperature: float) -> Tensor:
        ref[:] = [logprobs(reference, sequences, temperature).detach()]
        return logprobs(role, sequences, temperature)

    def with_penalty(now: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *settings: Any) -> Any:
        value, stats = loss(now, old, advantages, mask, *settings)
        return value + beta * masked_mean(kl_estimate(now, ref[0], estimator), mask), stats

    patch.setattr(ppo, "make_experience", lambda scored, _, settings: experience(scored, 0.0, settings))
    patch.setattr(ppo, "response_logprobs", noting_the_reference)
    patch.setattr(ppo, "ppo_policy_loss", with_penalty)
    patch.setattr(ppo, "masked_whiten", lambda x, mask: (x - masked_mean(x, mask)) * mask)


def whitening_that_keeps_the_mean(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    patch.setattr(ppo, "masked_whiten", lambda x, mask: masked_whiten(x, mask, shift_mean=False))


def score_one_past_the_end(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    right = ppo.shape_rewards

    def wrong(scores: Tensor, now: Tensor, ref: Tensor, mask: Tensor, beta: float) -> Tensor:
        rewards = right(torch.zeros_like(scores), now, ref, mask, beta)
        past = mask.sum(1).clamp(max=mask.shape[1] - 1)  # a response of full length has no place past its end
        return rewards.scatter_add(1, past[:, None], scores[:, None])

    patch.setattr(ppo, "shape_rewards", wrong)


def padding_counted(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    everything = property(lambda sequences: torch.ones_like(sequences.response_tokens, dtype=torch.bool))
    patch.setattr(Sequences, "response_mask", everything)
    places = property(lambda sequences: torch.arange(sequences.response_tokens.numel()))
    patch.setattr(Sequences, "response_places", places)


def value_bootstrapped_past_the_end(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    right = ppo.gae

    def wrong(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float) -> Any:
        last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
        return right(rewards + gamma * values * last, values, mask, gamma=gamma, gae_lambda=gae_lambda)

    patch.setattr(ppo, "gae", wrong)


def rollout_without_the_temperature(patch: pytest.MonkeyPatch, world: World, beta: float) -> None:
    right = next_token.draw_tokens

    def wrong(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        tokens, _ = right(logits, uniforms)
        return tokens, token_logprobs(logits * world.temperature, tokens)

    patch.setattr(next_token, "draw_tokens", wrong)


# whitening_that_keeps_the_mean is not among them: it is a baseline, which moves no optimum, and is caught otherwise.
MUTANTS: list[Mutant] = [
    ratio_against_the_reference,
    k3_in_the_reward,
    k3_as_the_token_loss,
    k2_as_the_token_loss,
    score_one_past_the_end,
    padding_counted,
    value_bootstrapped_past_the_end,
    rollout_without_the_temperature,
]
