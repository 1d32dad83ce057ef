"""Proximal policy optimisation against a reward, held to the reference by a KL penalty. See docs/algorithms/ppo.md.

    r_t = −β·(log π(y_t) − log π_ref(y_t)) + [t is the last token]·score          the reward of a token
    A_t, return_t = GAE(r, V)                                                     whitened over the batch
    L = −mean min(ratio·A, clip(ratio)·A) + c·½·mean max((V − return)², (V_clip − return)²)

Schulman et al. 2017 (arXiv:1707.06347); for language models Ziegler et al. 2019 (arXiv:1909.08593) and Stiennon et al.
2020 (arXiv:2009.01325).
"""

from functools import partial

from torch import Tensor

from truing.config.algorithms import Ppo
from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.core.experience import Experience
from truing.core.results import OnlineResult
from truing.functional import gae, masked_whiten, ppo_policy_loss, ppo_value_loss, shape_rewards
from truing.models.layout import PpoRoles, ppo_roles
from truing.models.roles import Role
from truing.models.scoring import response_logprobs, response_values
from truing.stages.objective import LossTerm, Objective, Scored
from truing.stages.online import train_online
from truing.training.job import Job
from truing.training.learner import Trained


def train_ppo(job: Job) -> OnlineResult:
    """Trains policy and critic, saves `model/` and returns the final metrics."""
    roles = ppo_roles(job.recipe, job.start, job.reward)
    return train_online(job, roles, ppo_objective(job.recipe, roles))


def ppo_objective(recipe: Recipe, roles: PpoRoles) -> Objective:
    """The algorithm, with the recipe's settings."""
    settings, temperature, rate = recipe.ppo, recipe.rollout.temperature, given(recipe.ppo.optimiser.learning_rate)
    return Objective(
        settings=settings,
        experience=partial(make_experience, settings=settings),
        losses=(
            LossTerm("policy_loss", partial(policy_loss, roles.policy, settings=settings, temperature=temperature)),
            LossTerm("value_loss", partial(value_loss, roles.critic, settings=settings), settings.value_coefficient),
        ),
        trained=(
            Trained("policy", roles.policy, rate),
            Trained("critic", roles.critic, settings.critic_learning_rate or rate),
        ),
        critic=roles.critic,
    )


def make_experience(scored: Scored, beta: float, settings: Ppo) -> Experience:
    """Rewards token by token, advantages and returns by GAE, advantages whitened over the whole batch."""
    assert scored.values is not None
    rollout, mask = scored.rollout, scored.rollout.sequences.response_mask
    rewards = shape_rewards(scored.rewards, rollout.logprobs, scored.ref_logprobs, mask, beta)
    if settings.whiten_rewards:
        rewards = masked_whiten(rewards, mask, shift_mean=False)
    advantages, returns = gae(rewards, scored.values, mask, gamma=settings.gamma, gae_lambda=settings.gae_lambda)
    return Experience(
        sequences=rollout.sequences,
        old_logprobs=rollout.logprobs,
        advantages=masked_whiten(advantages, mask),
        groups=rollout.groups,
        old_values=scored.values,
        returns=returns,
    )


def policy_loss(policy: Role, batch: Experience, settings: Ppo, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate objective of the policy."""
    logprobs = response_logprobs(policy, batch.sequences, temperature)
    mask = batch.sequences.response_mask
    return ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, mask, settings.clip_range, batch.weights)


def value_loss(critic: Role, batch: Experience, settings: Ppo) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic's clipped squared error."""
    assert batch.old_values is not None
    assert batch.returns is not None
    values = response_values(critic, batch.sequences)
    mask = batch.sequences.response_mask
    return ppo_value_loss(values, batch.old_values, batch.returns, mask, settings.value_clip_range)
